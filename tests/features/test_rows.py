"""Each row of docs/features.md has a test, each test of a row stands in docs/features.md."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

FEATURES = Path(__file__).parent
ROOT = FEATURES.parent.parent
ROWS = [
    "PL1", "PL2", "PL3", "PL4", "PL5", "PL6", "PL8",
    "JS1", "JS2", "JS3", "JS9", "JS10", "JS11",
    "TK3", "TK12",
    "EA1", "EA2", "EA3", "EA4", "EA5", "EA6", "EA25",
    "LS3", "LS4", "LS5", "LS6", "LS7", "LS8",
    "TC3", "TC5", "TC6", "TC12", "TC18", "TC19",
    "CR1", "CR2", "CR3", "CR4", "CR5", "CR6", "CR7", "CR8", "CR9", "CR10", "CR11", "CR12", "CR13",
    "PE1", "PE2", "PE5",
    "NB1", "NB2", "NB16",
    "PA5", "PA6", "PA19", "PA25",
]  # fmt: skip


def marked() -> dict[str, set[str]]:
    """Which rows the tests of this folder bear, and the names of those tests."""
    found: dict[str, set[str]] = {}
    for file in sorted(FEATURES.glob("test_*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                for row in rows_of(node):
                    found.setdefault(row, set()).add(f"{file.name}::{node.name}")
    return found


def rows_of(function: ast.FunctionDef | ast.AsyncFunctionDef) -> list[str]:
    return [
        str(ast.literal_eval(decorator.args[0]))
        for decorator in function.decorator_list
        if isinstance(decorator, ast.Call) and ast.unparse(decorator.func) == "pytest.mark.feature"
    ]


def documented() -> dict[str, str]:
    """The rows of docs/features.md, and the file that each one names."""
    page = (ROOT / "docs" / "features.md").read_text(encoding="utf-8")
    return dict(re.findall(r"^\| ([A-Z]{2}\d+) \|.*\| `(tests/features/\w+\.py)` \|$", page, re.MULTILINE))


def test_every_row_has_a_test() -> None:
    assert sorted(set(ROWS) - set(marked())) == []


def test_every_test_of_a_row_is_of_a_known_row() -> None:
    assert sorted(set(marked()) - set(ROWS)) == []


def test_a_test_bears_the_rows_in_its_name() -> None:
    wrong = [
        (row, name)
        for row, names in marked().items()
        for name in names
        if row.lower() not in name.partition("::test_")[2].split("_")
    ]
    assert wrong == []


@pytest.mark.parametrize("row", ROWS)
def test_the_page_names_the_file_in_which_the_row_is_shown(row: str) -> None:
    assert documented()[row].rpartition("/")[2] in {name.partition("::")[0] for name in marked()[row]}


def test_the_page_has_no_other_rows() -> None:
    assert list(documented()) == ROWS
