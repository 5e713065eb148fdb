"""Names as they are printed."""

from __future__ import annotations

from asyncsched.cli._show import short_names


def test_names_are_without_their_module_where_that_leaves_them_apart() -> None:
    ids = ["app:fetch", "app:report", "other:report", "kernel.clean", "app:Shop.open"]
    assert dict(short_names(ids)) == {
        "app:fetch": "fetch",
        "app:report": "app:report",
        "other:report": "other:report",
        "kernel.clean": "kernel.clean",
        "app:Shop.open": "Shop.open",
    }
