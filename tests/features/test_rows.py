"""Each row of docs/features.md has a test, each test of a row stands in docs/features.md."""

from __future__ import annotations

import ast
import functools
import re
from pathlib import Path

import pytest

FEATURES = Path(__file__).parent
ROOT = FEATURES.parent.parent
FOLDERS = (FEATURES, FEATURES.parent / "embedding", FEATURES.parent / "faults")
ROWS = [
    "PL1", "PL2", "PL3", "PL4", "PL5", "PL6", "PL7", "PL8",
    "JS1", "JS2", "JS3", "JS4", "JS5", "JS6", "JS7", "JS8", "JS9", "JS10", "JS11",
    "TK1", "TK2", "TK3", "TK4", "TK5", "TK6", "TK7", "TK8", "TK9", "TK10", "TK11", "TK12", "TK13", "TK14",
    "LG1", "LG6", "LG11",
    "EA1", "EA2", "EA3", "EA4", "EA5", "EA6", "EA7", "EA8", "EA9", "EA10", "EA11", "EA12", "EA13", "EA14", "EA15",
    "EA16", "EA17", "EA18", "EA19", "EA20", "EA21", "EA22", "EA23", "EA25",
    "LS1", "LS2", "LS3", "LS4", "LS5", "LS6", "LS7", "LS8", "LS9", "LS10", "LS11", "LS12", "LS13", "LS14", "LS15",
    "LS16", "LS17", "LS20", "LS21", "LS22", "LS23", "LS24", "LS25", "LS26", "LS27", "LS28",
    "TC1", "TC2", "TC3", "TC4", "TC5", "TC6", "TC7", "TC8", "TC9", "TC10", "TC11", "TC12", "TC13", "TC14", "TC15",
    "TC16", "TC17", "TC18", "TC19", "TC20", "TC21", "TC22", "TC23", "TC24", "TC25", "TC26", "TC27", "TC28",
    "CR1", "CR2", "CR3", "CR4", "CR5", "CR6", "CR7", "CR8", "CR9", "CR10", "CR11", "CR12", "CR13",
    "PE1", "PE2", "PE3", "PE4", "PE5", "PE6", "PE7", "PE8", "PE9", "PE10", "PE11", "PE12", "PE13", "PE14", "PE15",
    "PE16", "PE17", "PE18", "PE19", "PE20", "PE21", "PE22", "PE23", "PE24", "PE25", "PE26", "PE27", "PE33", "PE34",
    "PE35", "PE36",
    "NB1", "NB2", "NB3", "NB4", "NB5", "NB7", "NB8", "NB9", "NB10", "NB11", "NB12", "NB13", "NB14", "NB15", "NB16",
    "NB17", "NB18", "NB19", "NB20", "NB22", "NB23", "NB24",
    "PA1", "PA2", "PA3", "PA4", "PA5", "PA6", "PA7", "PA8", "PA9", "PA10", "PA11", "PA12", "PA13", "PA14", "PA15",
    "PA16", "PA17", "PA18", "PA19", "PA20", "PA21", "PA22", "PA23", "PA25", "PA26", "PA27", "PA28", "PA29",
    "PQ1", "PQ2", "PQ3", "PQ4", "PQ5", "PQ6", "PQ7", "PQ8", "PQ9", "PQ10", "PQ11", "PQ12", "PQ13", "PQ14", "PQ15",
]  # fmt: skip


@functools.cache
def marked() -> dict[str, set[str]]:
    """Which rows the tests of these folders bear, and the names of those tests."""
    found: dict[str, set[str]] = {}
    for file in sorted(file for folder in FOLDERS for file in folder.glob("test_*.py")):
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
    return dict(re.findall(r"^\| ([A-Z]{2}\d+) \|.*\| `(tests/\w+/\w+\.py)` \|$", page, re.MULTILINE))


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
