"""Parts to measure: boxes, spheres and gears as closed meshes, the same on every machine, in both forms of STL."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

from workshop.files import placed
from workshop.stl import Point, Triangle

Form = Literal["binary", "ascii"]
Mesh = Sequence[Triangle]

_RECORD = struct.Struct("<12fH")


def box(width: float, depth: float, height: float, *, corner: Point = (0.0, 0.0, 0.0)) -> Mesh:
    """A box with its smallest coordinates at ``corner``: 12 triangles."""
    x, y, z = corner
    outline = [(x, y), (x + width, y), (x + width, y + depth), (x, y + depth)]
    return prism(outline, height, floor=z)


def prism(outline: Sequence[tuple[float, float]], height: float, *, floor: float = 0.0) -> Mesh:
    """The counter-clockwise ``outline`` raised by ``height``; all of it must be visible from its first point."""
    mesh: list[Triangle] = []
    low = [(x, y, floor) for x, y in outline]
    high = [(x, y, floor + height) for x, y in outline]
    for a in range(len(outline)):
        b = (a + 1) % len(outline)
        mesh += [(low[a], low[b], high[b]), (low[a], high[b], high[a])]
    for a in range(1, len(outline) - 1):
        mesh += [(low[0], low[a + 1], low[a]), (high[0], high[a], high[a + 1])]
    return mesh


def gear(teeth: int, radius: float, height: float) -> Mesh:
    """A spur gear without a bore, with straight flanks, around the z axis: four corners for each tooth."""
    root = radius * (1 - 2 / teeth)
    outline = []
    for tooth in range(teeth):
        for part, distance in ((0.0, root), (0.45, root), (0.55, radius), (0.9, radius)):
            turn = math.tau * (tooth + part) / teeth
            outline.append((distance * math.cos(turn), distance * math.sin(turn)))
    return _wheel(outline, height)


def _wheel(outline: Sequence[tuple[float, float]], height: float) -> Mesh:
    """As ``prism``, with caps spanned from the z axis, from which all of the outline must be visible."""
    mesh: list[Triangle] = []
    for (ax, ay), (bx, by) in zip(outline, [*outline[1:], outline[0]], strict=True):
        a, b, above_a, above_b = (ax, ay, 0.0), (bx, by, 0.0), (ax, ay, height), (bx, by, height)
        mesh += [(a, b, above_b), (a, above_b, above_a)]
        mesh += [((0.0, 0.0, 0.0), b, a), ((0.0, 0.0, height), above_a, above_b)]
    return mesh


def sphere(radius: float, *, rings: int = 16, centre: Point = (0.0, 0.0, 0.0)) -> Mesh:
    """A sphere of ``rings`` circles of latitude: 4 * rings * (rings - 1) triangles."""
    mesh: list[Triangle] = []

    def point(ring: int, step: int) -> Point:
        polar, turn = math.pi * ring / rings, math.tau * (step % (2 * rings)) / (2 * rings)
        # sin(pi) is not quite 0, and a mesh whose poles do not meet is not closed.
        flat = radius * math.sin(polar) if 0 < ring < rings else 0.0
        return (
            centre[0] + flat * math.cos(turn),
            centre[1] + flat * math.sin(turn),
            centre[2] + radius * math.cos(polar),
        )

    for ring in range(rings):
        for step in range(2 * rings):
            a, b = point(ring, step), point(ring, step + 1)
            c, d = point(ring + 1, step), point(ring + 1, step + 1)
            if ring < rings - 1:
                mesh.append((a, c, d))
            if ring > 0:
                mesh.append((a, d, b))
    return mesh


def write(path: Path, mesh: Mesh, form: Form = "binary") -> Path:
    """Writes ``mesh`` as an STL file to ``path``. Both forms hold the same numbers, those that fit in 32 bits."""
    with placed(path) as draft:
        if form == "ascii":
            draft.write_text("\n".join(_lines(path.stem, mesh)) + "\n")
        else:
            head = path.stem.encode().ljust(80, b" ")[:80] + struct.pack("<I", len(mesh))
            draft.write_bytes(head + b"".join(_RECORD.pack(0, 0, 0, *a, *b, *c, 0) for a, b, c in mesh))
    return path


def _lines(name: str, mesh: Mesh) -> Iterator[str]:
    yield f"solid {name}"
    for corners in mesh:
        yield "  facet normal 0 0 0"
        yield "    outer loop"
        for corner in corners:
            x, y, z = struct.unpack("<3f", struct.pack("<3f", *corner))
            yield f"      vertex {x!r} {y!r} {z!r}"
        yield "    endloop"
        yield "  endfacet"
    yield f"endsolid {name}"


def stock(folder: Path) -> list[Path]:
    """Writes the workshop's first five parts into ``folder``."""
    return [
        write(folder / "plate.stl", box(120, 80, 5)),
        write(folder / "block.stl", box(40, 30, 20, corner=(-20, -15, 0)), "ascii"),
        write(folder / "ball.stl", sphere(12.5)),
        write(folder / "wheel.stl", gear(24, 36, 8)),
        write(folder / "pinion.stl", gear(9, 13.5, 12), "ascii"),
    ]
