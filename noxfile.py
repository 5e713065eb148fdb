# /// script
# dependencies = ["nox[uv]>=2025.5.1"]
# ///
"""What is run on this project, each in an environment of its own: ``python3 dev.py nox -l`` lists it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nox

nox.needs_version = ">=2025.5.1"
nox.options.default_venv_backend = "uv|virtualenv"
nox.options.reuse_venv = "yes"
nox.options.download_python = "never"
nox.options.error_on_missing_interpreters = True
nox.options.sessions = ["tests"]

PROJECT = nox.project.load_toml("pyproject.toml")
# pip's options and the names that uv has for them: uv does not read pip's configuration, and where that names
# a mirror or a certificate, nothing can be installed without it.
UV_NAMES = {
    "index-url": "UV_DEFAULT_INDEX",
    "extra-index-url": "UV_INDEX",
    "find-links": "UV_FIND_LINKS",
    "cert": "SSL_CERT_FILE",
}


def group(name: str) -> list[str]:
    """The requirements of a dependency group; the project itself is installed from here, not looked up."""
    return [line for line in nox.project.dependency_groups(PROJECT, name) if not line.startswith("asyncsched")]


def let_uv_follow_pip() -> None:
    listed = subprocess.run([sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True).stdout
    for option, value in re.findall(r"^(?:global|install|:env:)\.([a-z-]+)='(.*)'$", listed, re.MULTILINE):
        if option in UV_NAMES:
            os.environ.setdefault(UV_NAMES[option], " ".join(value.replace("\\n", " ").split()))
            # As pip does: the best version from all indexes, not all versions from the first index.
            os.environ.setdefault("UV_INDEX_STRATEGY", "unsafe-best-match")


if not any(name in os.environ for name in ("UV_DEFAULT_INDEX", "UV_INDEX", "UV_INDEX_URL", "UV_CONFIG_FILE")):
    let_uv_follow_pip()


def run_suite(session: nox.Session) -> None:
    """Runs all tests, or those that the arguments choose."""
    session.run("pytest", "-n", "auto", *(session.posargs or ["--durations=10"]))


@nox.session
def tests(session: nox.Session) -> None:
    """The suite, on the Python that runs nox. The default."""
    session.install("-e", ".[all]", *group("test"))
    run_suite(session)


@nox.session
def coverage(session: nox.Session) -> None:
    """The suite once more, and which lines it does not reach; it takes a third longer so."""
    session.install("-e", ".[all]", *group("test"))
    session.run("pytest", "-n", "auto", "--cov", "--cov-report=term:skip-covered")


@nox.session
def faults(session: nox.Session) -> None:
    """The fault tests in their long form: about two hours. Arguments are pytest's; the seed is printed at the top."""
    session.install("-e", ".[all]", *group("test"))
    session.run("pytest", "-rP", *(session.posargs or ["tests/faults"]), env={"ASYNCSCHED_FAULTS": "long"})


def declare_newer(version: str) -> None:
    @nox.session(name=f"tests-{version}", python=version)
    def tests_newer(session: nox.Session) -> None:
        """The suite on a newer Python, which must be installed."""
        session.install("-e", ".[all]", *group("test"))
        run_suite(session)


for newer in ("3.12", "3.13", "3.14"):
    declare_newer(newer)


@nox.session(venv_backend="uv")
def lowest(session: nox.Session) -> None:
    """The suite with the oldest versions that pyproject.toml allows, but for what asks no more of the libraries."""
    session.install("--resolution", "lowest-direct", "-e", ".[all]", *group("test"))
    own = (
        "faults",
        "features",
        "test_benchmarks.py",
        "unit/triggers",
        "unit/engine",
        "contract/test_memory.py",
        "contract/test_sqlite.py",
        "test_readme.py",
    )
    ours = [f"--ignore=tests/{part}" for part in own]
    laws = "not OldestPostgres and not every_run_ends"  # long ones, of which the same holds
    session.run("pytest", "-n", "auto", *(session.posargs or [*ours, "-k", laws]))


@nox.session
def lint(session: nox.Session) -> None:
    """ruff: rules and format."""
    session.install(*group("lint"))
    session.run("ruff", "check", *session.posargs)
    session.run("ruff", "format", "--check")


@nox.session
def types(session: nox.Session) -> None:
    """mypy --strict and pyright, which must agree."""
    session.install("-e", ".[all]", *group("test"), *group("types"))
    session.run("mypy")
    session.run("pyright")


@nox.session
def bench(session: nox.Session) -> None:
    """The benchmarks beside their peers: all, or those that the arguments name."""
    session.install("-e", ".", *group("bench"), "virtualenv")
    session.install("--no-deps", *group("bench-arq"))
    apart = Path(session.create_tmp()).absolute() / "apscheduler4"
    python = apart / ("Scripts" if os.name == "nt" else "bin") / "python"
    session.run("virtualenv", "--quiet", str(apart))
    session.run(str(python), "-m", "pip", "install", "--quiet", *group("bench-apscheduler4"), external=True)
    session.run("python", "-m", "benchmarks", "--python", f"apscheduler4={python}", *session.posargs)


@nox.session
def build(session: nox.Session) -> None:
    """Wheel and sdist, checked, and the wheel alone in an environment where nothing else is."""
    session.install("build", "twine", "virtualenv")
    made = Path(session.create_tmp()) / "dist"
    shutil.rmtree(made, ignore_errors=True)
    session.run("python", "-m", "build", "--outdir", str(made), silent=True)
    session.run("twine", "check", "--strict", *map(str, made.iterdir()))
    (wheel,) = made.glob("*.whl")
    alone = Path(session.create_tmp()) / "alone"
    session.run("virtualenv", "--quiet", "--clear", str(alone))
    scripts = alone / ("Scripts" if os.name == "nt" else "bin")
    outside = {"external": True, "env": {"PYTHONPATH": "", "PYTHONSAFEPATH": "1"}}
    session.run(str(scripts / "python"), "-m", "pip", "install", "--quiet", str(wheel), **outside)
    session.run(str(scripts / "python"), "-W", "error", "-c", "import asyncsched", **outside)
    session.run(str(scripts / "python"), "-m", "pip", "install", "--quiet", f"{wheel}[cli]", **outside)
    session.run(str(scripts / "asyncsched"), "--version", **outside)
    file = f"sqlite:///{(alone / 'jobs.db').absolute()}"  # its schema is read from files of the package
    session.run(str(scripts / "asyncsched"), "migrate", "--store", file, **outside)
