"""The report: a table of figures beside their goals, a table of all subjects, and a plot."""

from __future__ import annotations

import math
from html import escape
from typing import Any

from benchmarks.figures import OURS, PLOTTED, SUBJECTS, Figure
from benchmarks.rounds import Results

_KEPT = 0.97
_ROW, _BAR, _LABEL, _PAD = 18, 300, 110, 12


def markdown(facts: dict[str, Any], results: Results, lines: list[Figure]) -> str:
    """All of it, for people."""
    parts = ["A smoke run: its sizes are too small for figures that mean anything."] if facts["quick"] else []
    parts += [
        "\n".join(f"* {name}: {value}" for name, value in {**facts["machine"], "rounds": facts["rounds"]}.items()),
        _goals(results, lines),
        _everybody(results, lines),
        "\n".join(_setup(facts["subjects"])),
    ]
    if results.errors:
        parts.append("No figures:\n\n" + "\n".join(f"* {what}: {why}" for what, why in sorted(results.errors.items())))
    return "\n\n".join(parts) + "\n"


def _goals(results: Results, lines: list[Figure]) -> str:
    rows = [
        "| figure | asyncsched | beside | ratio (range over rounds) | goal | reached |",
        "|---|--:|--:|--:|--:|---|",
    ]
    for line in lines:
        ours = results.median(line.key, OURS)
        if ours is None:
            continue
        theirs = results.median(line.key, line.beside)
        beside = "" if theirs is None else f"{line.beside} {_number(theirs, line.unit)}"
        reached = {True: "yes", False: "**no**", None: ""}[line.reached(ours, theirs)]
        value = f"{_number(ours, line.unit)}{_behind(results, line.key, OURS)}"
        rows.append(f"| {line.title} | {value} | {beside} | {_ratio(results, line)} | {line.wanted} | {reached} |")
    return "\n".join(rows)


def _ratio(results: Results, line: Figure) -> str:
    ours, theirs = results.median(line.key, OURS), results.median(line.key, line.beside)
    if ours is None or not theirs:
        return ""
    samples = results.samples[line.key]
    by_round = [a / b for a, b in zip(samples[OURS], samples[line.beside], strict=False) if b]
    return f"{ours / theirs:.2f} ({min(by_round):.2f}-{max(by_round):.2f})"


def _everybody(results: Results, lines: list[Figure]) -> str:
    found = [line for line in lines if results.samples.get(line.key)]
    there = [name for name in SUBJECTS if any(name in results.samples[line.key] for line in found)]
    rows = ["| figure | " + " | ".join(there) + " |", "|---|" + "--:|" * len(there)]
    for line in found:
        cells = []
        for name in there:
            value = results.median(line.key, name)
            cells.append("" if value is None else _number(value, "") + _behind(results, line.key, name))
        unit = f", {line.unit}" if line.unit else ""
        rows.append(f"| {line.title}{unit} | " + " | ".join(cells) + " |")
    return "\n".join(rows)


def _behind(results: Results, key: str, subject: str) -> str:
    """How many fires came, where fewer came than were asked: the figure then stands for those."""
    measure = key.partition(".")[0]
    came, asked = results.median(f"{measure}.rate", subject), results.median(f"{measure}.asked", subject)
    if came is None or asked is None or came >= _KEPT * asked:
        return ""
    return f" (at {came:,.0f}/s)"


def _setup(subjects: dict[str, dict[str, Any]]) -> list[str]:
    rows = ["| subject | version | set up |", "|---|---|---|"]
    for name, facts in subjects.items():
        if "error" in facts:
            rows.append(f"| {name} | | left out: {facts['error']} |")
        else:
            rows.append(f"| {name} | {facts['version'] or ''} | {facts['settings']} |")
    return rows


def _number(value: float, unit: str) -> str:
    shown = f"{value:,.0f}" if value >= 100 or value == 0 else f"{value:.3g}"
    return f"{shown} {unit}".rstrip()


def plot(results: Results, lines: list[Figure]) -> str:
    """An SVG of bars on logarithmic scales, a panel for each figure."""
    drawn: list[str] = []
    top = _PAD
    for line in lines:
        values = {name: value for name in SUBJECTS if (value := results.median(line.key, name))}
        if line.key not in PLOTTED or not values:
            continue
        better = "more" if line.more else "less"
        drawn.append(f'<text x="{_PAD}" y="{top + 12}" font-weight="bold">{escape(line.title)}, {line.unit}'
                     f" ({better} is better, logarithmic)</text>")  # fmt: skip
        top += 20
        for name, value in values.items():
            drawn += _bar(top, name, value, low=min(values.values()) / 2, high=max(values.values()))
            top += _ROW
        top += _PAD
    width = _LABEL + _BAR + 100
    style = "text{font:12px sans-serif;fill:#333}"
    head = f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{top}" viewBox="0 0 {width} {top}">'
    ground = f'<rect width="{width}" height="{top}" fill="#fff"/>'
    return "\n".join([head, f"<style>{style}</style>", ground, *drawn, "</svg>"]) + "\n"


def _bar(top: int, name: str, value: float, *, low: float, high: float) -> list[str]:
    length = _BAR * math.log(value / low) / math.log(high / low)
    colour = "#c8553d" if name == OURS else "#8fa3ad"
    return [
        f'<text x="{_LABEL - 6}" y="{top + 12}" text-anchor="end">{escape(name)}</text>',
        f'<rect x="{_LABEL}" y="{top + 2}" width="{length:.1f}" height="{_ROW - 4}" fill="{colour}"/>',
        f'<text x="{_LABEL + length + 5:.1f}" y="{top + 12}">{_number(value, "")}</text>',
    ]
