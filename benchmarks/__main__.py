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
from benchmarks.rounds import APART, ROOT, TOGETHER, Results, Rounds, trial


def main() -> None:
    chosen = _arguments()
    facts: dict[str, Any] = {"machine": machine(), "rounds": 0, "quick": chosen.quick, "subjects": {}}
    pythons = {name: dict(chosen.python).get(name, sys.executable) for name in chosen.subjects}
    for name, python in pythons.items():
        facts["subjects"][name] = _facts(name, python)
    present = {name: python for name, python in pythons.items() if "error" not in facts["subjects"][name]}
    rounds = Rounds(present, quick=chosen.quick, tell=lambda line: print(f"  {line}", file=sys.stderr, flush=True))
    text = ""
    for number in range(1, chosen.rounds + 1):
        print(f"round {number} of {chosen.rounds}", file=sys.stderr, flush=True)
        rounds.run(chosen.measures)
        facts["rounds"] = number
        facts["machine"]["load after"] = load()
        text = _written(facts, rounds.results, chosen.out)  # after each round: what was found outlives an interruption
    print(text)


def _written(facts: dict[str, Any], results: Results, out: Path | None) -> str:
    """The report, which is also put into the folder ``out`` if there is one."""
    lines = figures(sys.version_info[:2], quick=facts["quick"])
    text = markdown(facts, results, lines)
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        found = facts | {"samples": results.samples, "errors": results.errors}
        name = f"python-{sys.version_info.major}.{sys.version_info.minor}"
        (out / f"{name}.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
        (out / f"{name}.md").write_text(text, encoding="utf-8")
        (out / f"{name}.svg").write_text(plot(results, lines), encoding="utf-8")
    return text


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
