"""The README and the docs say what is true: their blocks are run, and what they say is printed is compared.

Python blocks that begin with a file's name (``# app.py``) are written to that file; the others of a page are one
program, run in order. Comments behind ``print`` and at the start of a line are what it prints.
"""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
NAMES = [str(page.relative_to(ROOT)) for page in PAGES]
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_FILE = re.compile(r"# ([\w/]+\.py)\n")
_OUTPUT = re.compile(r"^(?:.*\bprint\(.*\)\s+)?# ?(.*)$")
_SECONDS = 60


@dataclass(frozen=True)
class Block:
    """One fenced block of a page."""

    language: str
    text: str
    line: int
    """Where its first line stands in the page, from 0."""

    @property
    def file(self) -> str | None:
        named = _FILE.match(self.text)
        return named[1] if named and self.language == "python" else None


def blocks(page: Path, language: str) -> list[Block]:
    text = page.read_text(encoding="utf-8")
    found = (Block(match[1], match[2], text.count("\n", 0, match.start(2))) for match in _FENCE.finditer(text))
    return [block for block in found if block.language == language]


def program_of(page: Path) -> tuple[str, list[str]]:
    """The program of a page, each line where it stands in the page, and the lines that it should print."""
    lines = [""] * len(page.read_text(encoding="utf-8").splitlines())
    said = []
    for block in blocks(page, "python"):
        if block.file is None:
            own = block.text.splitlines()
            lines[block.line : block.line + len(own)] = own
            said += [match[1] for line in own if (match := _OUTPUT.match(line))]
    return "\n".join(lines), said


@pytest.fixture
def page(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A page whose files lie in ``tmp_path``."""
    path = ROOT / request.param
    for block in blocks(path, "python"):
        if block.file:
            (tmp_path / block.file).write_text(block.text, encoding="utf-8")
    return path


def run(*command: str | Path, cwd: Path) -> str:
    """What the command prints; it must succeed."""
    env = os.environ | {
        "NO_COLOR": "1",
        "COLUMNS": "100",
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }
    done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, timeout=_SECONDS, check=False)
    assert done.returncode == 0, f"{shlex.join(map(str, command))}\n{done.stdout}{done.stderr}"
    return done.stdout


@pytest.mark.parametrize("page", [name for name in NAMES if program_of(ROOT / name)[0].strip()], indirect=True)
def test_the_program_of_a_page_prints_what_the_page_says(page: Path, tmp_path: Path) -> None:
    program, said = program_of(page)
    (tmp_path / "page.py").write_text(program + "\n", encoding="utf-8")
    assert run(sys.executable, "-W", "error", "page.py", cwd=tmp_path).splitlines() == said


@pytest.mark.parametrize(
    "page",
    [name for name in NAMES if any((b.file or "").startswith("test_") for b in blocks(ROOT / name, "python"))],
    indirect=True,
)
def test_the_tests_of_a_page_pass(page: Path, tmp_path: Path) -> None:
    # Without any configuration, as newcomers run them.
    printed = run(sys.executable, "-m", "pytest", "-q", "-p", "no:randomly", cwd=tmp_path)
    tests = sum(block.text.count("async def test_") for block in blocks(page, "python"))
    assert f"{tests} passed" in printed


@pytest.mark.parametrize("page", [name for name in NAMES if blocks(ROOT / name, "console")], indirect=True)
def test_the_console_shows_what_the_page_says(page: Path, tmp_path: Path) -> None:
    for block in blocks(page, "console"):
        for part in re.split(r"^\$ ", block.text, flags=re.MULTILINE)[1:]:
            command, _, said = part.partition("\n")
            check_command(shlex.split(command, comments=True), said, tmp_path)


def check_command(words: list[str], said: str, cwd: Path) -> None:
    match words:
        case ["pip", "install", requirement]:
            extras = re.findall(r"[a-z]+", requirement.partition("[")[2])
            assert set(extras) <= set(project()["optional-dependencies"]), requirement
        case ["asyncsched", "run", target]:
            check_serving(target, cwd)
        case ["asyncsched", *_] | ["pytest", *_]:
            printed = run(sys.executable, "-m", *words, cwd=cwd)
            assert not said or printed.rstrip() == said.rstrip()
        case ["python3", "dev.py", verb]:
            assert f"python3 dev.py {verb} " in run(sys.executable, ROOT / "dev.py", "help", cwd=cwd)
        case [".ci/run"]:
            assert os.access(ROOT / ".ci" / "run", os.X_OK)
        case _:
            pytest.fail(f"no test knows how to check the command {words}")


def check_serving(target: str, cwd: Path) -> None:
    """Serving starts, says something, and ends well on Ctrl-C."""
    command = [sys.executable, "-m", "asyncsched", "run", target]
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    with subprocess.Popen(command, cwd=cwd, **streams) as serving:  # type: ignore[call-overload]
        try:
            first = serving.stdout.readline()
            serving.send_signal(signal.SIGINT)
            rest = serving.communicate(timeout=_SECONDS)[0]
        finally:
            serving.kill()
    assert (serving.returncode, "Traceback" in first + rest) == (0, False), first + rest


def project() -> dict[str, dict[str, list[str]]]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def test_ci_begins_with_the_readme_s_test_command() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    (command,) = re.findall(r"^\$ (python3 dev\.py test)\b", readme, re.MULTILINE)
    work = [
        line
        for line in (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()
        if line and not line.startswith(("#", "set ", "cd ", "exec "))
    ]
    assert work[0] == command


def test_every_page_is_reached_from_the_index() -> None:
    index = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    linked = {(ROOT / "docs" / target).resolve() for target in re.findall(r"\]\(([^)#]+)\)", index)}
    assert linked == set((ROOT / "docs").rglob("*.md")) - {ROOT / "docs" / "index.md"}


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_every_link_within_the_repository_leads_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
    assert [target for target in targets if "://" not in target and not (page.parent / target).exists()] == []


def anchors(page: Path) -> set[str]:
    """What can stand behind a ``#``: the headings in small letters, without punctuation, hyphens for spaces."""
    prose = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ (.+)$", prose, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_every_link_to_a_heading_leads_to_one(page: Path) -> None:
    targets = re.findall(r"\]\(([^):#]*)#([^)]*)\)", page.read_text(encoding="utf-8"))
    assert [
        f"{file}#{anchor}" for file, anchor in targets if anchor not in anchors(page.parent / file if file else page)
    ] == []


def test_no_file_names_a_registry() -> None:
    files = [path for path in ROOT.iterdir() if path.suffix in {".md", ".py", ".toml", ".yaml"}]
    registries = re.compile(r"pypi\.org|pythonhosted|registry\.npmjs")
    named = [path.name for path in [*files, ROOT / ".ci" / "run", *PAGES] if registries.search(path.read_text("utf-8"))]
    assert len(files) > 5
    assert named == []
