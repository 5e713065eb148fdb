"""What nodes say of themselves, as it is stored and compared, and by what they are called."""

from __future__ import annotations

import json
import zoneinfo
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncsched import zone
from asyncsched.errors import UnknownNode
from asyncsched.nodes import NodeReport, StoredNode, differences, node_named, report_of

SAID = NodeReport(host="a", pid=1, version="1.0", tzdata="2025b")
words = st.text(max_size=5)


def a_node(name: str, said: NodeReport | None = SAID, node_id: str = "") -> StoredNode:
    return StoredNode(
        id=node_id or f"id-{name}", name=name, started_us=5, heard_us=6, running=0, report=said, asked=False
    )


@given(
    st.builds(
        NodeReport,
        host=words,
        pid=st.integers(),
        version=words,
        tzdata=words,
        roles=st.lists(words).map(tuple),
        queues=st.none() | st.lists(words).map(tuple),
        skew_us=st.integers(),
        draining=st.booleans(),
    )
)
def test_what_a_node_says_is_read_as_it_was_written(said: NodeReport) -> None:
    assert report_of(said.text()) == said


def test_what_a_later_version_says_besides_is_left_out() -> None:
    text = json.dumps({**json.loads(SAID.text()), "mood": "good"})
    assert report_of(text) == SAID


@pytest.mark.parametrize("text", [None, "", "nonsense", "[]", "3", '{"host": "a"}', '{"host": "a", "pid": "x"}'])
def test_what_cannot_be_read_was_not_said(text: str | None) -> None:
    assert report_of(text) is None


def test_of_each_other_value_one_node_is_named() -> None:
    newer = replace(SAID, tzdata="2026a", version="2.0")
    others = [a_node("same"), a_node("n", newer), a_node("o", newer), a_node("p", None)]
    assert [tuple(one) for one in differences(SAID, others)] == [
        ("version", "1.0", "2.0", "n"),
        ("tzdata", "2025b", "2026a", "n"),
    ]


def test_time_zones_of_an_unknown_edition_are_not_compared() -> None:
    unknown = replace(SAID, tzdata="unknown")
    assert differences(SAID, [a_node("n", unknown)]) == []
    assert differences(unknown, [a_node("n", SAID)]) == []


def test_a_node_is_called_by_its_id_its_name_or_the_beginning_of_its_id() -> None:
    nodes = [a_node("a:1", node_id="abc1"), a_node("b:2", node_id="abd2"), a_node("b:2", node_id="e")]
    assert node_named(nodes, "abc1") is node_named(nodes, "a:1") is node_named(nodes, "abc") is nodes[0]
    with pytest.raises(UnknownNode, match="give the id of one of them, abd2, e"):
        node_named(nodes, "b:2")
    with pytest.raises(UnknownNode, match="may be any of 2"):
        node_named(nodes, "ab")
    with pytest.raises(UnknownNode, match=r"no node 'x' is at the store; there is: a:1 \(abc1\), b:2"):
        node_named(nodes, "x")
    with pytest.raises(UnknownNode, match="there is: none"):
        node_named([], "")


@pytest.mark.parametrize(
    ("file", "text", "version"),
    [
        ("tzdata.zi", "# version 2025b\n# more", "2025b"),
        ("+VERSION", "2024a\n", "2024a"),
        ("other", "", "unknown"),
    ],
)
def test_the_edition_of_the_time_zones_is_that_of_the_system(
    file: str, text: str, version: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "Etc").mkdir()
    (tmp_path / "Etc" / "UTC").write_bytes(b"TZif")
    (tmp_path / file).write_text(text, encoding="ascii")
    monkeypatch.setattr(zoneinfo, "TZPATH", (str(tmp_path / "nowhere"), str(tmp_path)))
    assert zone.tzdata_version.__wrapped__() == version


def test_without_the_systems_time_zones_it_is_that_of_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    tzdata = pytest.importorskip("tzdata")
    monkeypatch.setattr(zoneinfo, "TZPATH", ())
    assert zone.tzdata_version.__wrapped__() == tzdata.IANA_VERSION
