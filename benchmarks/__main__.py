"""All figures of asyncsched beside its peers: ``python -m benchmarks``, or ``nox -s bench``.

A full run of three rounds takes about half an hour; ``--quick`` shows in seconds that everything works, its
figures mean nothing.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from benchmarks.adapters import NAMES
from benchmarks.figures import figures
from benchmarks.machine import load, machine
from benchmarks.report import markdown, plot
from benchmarks.rounds import APART, ROOT, TOGETHER, Rounds, trial


def main() -> None:
    chosen = _arguments()
    told = sys.stderr
    facts: dict[str, Any] = {"machine": machine(), "rounds": chosen.rounds, "quick": chosen.quick, "subjects": {}}
    pythons = {name: dict(chosen.python).get(name, sys.executable) for name in chosen.subjects}
    for name, python in pythons.items():
        facts["subjects"][name] = _facts(name, python)
    present = {name: python for name, python in pythons.items() if "error" not in facts["subjects"][name]}
    rounds = Rounds(present, quick=chosen.quick, tell=lambda line: print(line, file=told, flush=True))
    rounds.run(chosen.measures, chosen.rounds)
    facts["machine"]["load after"] = load()
    lines = figures(sys.version_info, quick=chosen.quick)
    text = markdown(facts, rounds.results, lines)
    print(text)
    if chosen.out is None:
        return
    name = f"python-{sys.version_info.major}.{sys.version_info.minor}"
    chosen.out.mkdir(parents=True, exist_ok=True)
    found = facts | {"samples": rounds.results.samples, "errors": rounds.results.errors}
    (chosen.out / f"{name}.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    (chosen.out / f"{name}.md").write_text(text, encoding="utf-8")
    (chosen.out / f"{name}.svg").write_text(plot(rounds.results, lines), encoding="utf-8")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    measures = [*APART, *TOGETHER]
    parser.add_argument("measures", nargs="*", metavar="measure", help=f"of {', '.join(measures)}; default all")
    parser.add_argument("--subjects", nargs="+", choices=NAMES, default=NAMES, metavar="NAME", help=", ".join(NAMES))
    parser.add_argument("--rounds", type=int, help="default 3, and 1 with --quick")
    parser.add_argument("--quick", action="store_true", help="a smoke run, small and with trials side by side")
    parser.add_argument(
        "--python",
        action="append",
        default=[],
        type=lambda text: text.split("=", 1),
        metavar="NAME=PATH",
        help="the interpreter that has this subject, where it is not this one: apscheduler4=.../bin/python",
    )
    parser.add_argument("--out", type=Path, help="folder for JSON, Markdown and SVG; default benchmarks/results")
    chosen = parser.parse_args()
    unknown = set(chosen.measures) - set(measures)
    if unknown:
        parser.error(f"no measure {', '.join(sorted(unknown))}: there are {', '.join(measures)}")
    chosen.measures = chosen.measures or measures
    chosen.rounds = chosen.rounds or (1 if chosen.quick else 3)
    if chosen.out is None and not chosen.quick:
        chosen.out = ROOT / "benchmarks" / "results"
    return chosen


def _facts(name: str, python: str) -> dict[str, Any]:
    """Version and settings of a subject, or why it is left out."""
    told = trial(python, name, "facts")
    if "error" in told:
        return told
    facts: dict[str, Any] = told["facts"]
    here = ".".join(map(str, sys.version_info[:2]))
    if not facts["python"].startswith(f"{here}."):
        return {"error": f"its interpreter is Python {facts['python']}, this one is {here}"}
    return facts


if __name__ == "__main__":
    main()
