"""Measures of STL files, the triangle meshes that CAD programs exchange, in both of their forms.

Binary: 80 bytes of anything, the number of triangles, then 50 bytes for each (a normal, three corners, two
spare bytes; little endian). ASCII: ``solid``, ``facet normal``, ``outer loop``, three times ``vertex`` ...
Many programs begin binary files with the word "solid" too, so the length decides, not the first word.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

Point = tuple[float, float, float]
Triangle = tuple[Point, Point, Point]

_HEADER = 80
_COUNT = struct.Struct("<I")
_RECORD = struct.Struct("<12x9f2x")  # the normal is skipped: corners in order say the same
_BLOCK = 1024  # triangles read at a time: 50 kB
_LONGEST_LINE = 1000
_LARGEST = 3.5e38  # what the 32 bits of the binary form can hold; NaN compares as larger


@dataclass(frozen=True, kw_only=True)
class Measures:
    """What one closed mesh measures, in the file's own unit of length, usually millimetres."""

    triangles: int
    volume: float
    area: float
    low: Point
    """The corner of the bounding box with the smallest coordinates."""
    high: Point
    """The corner of the bounding box with the greatest coordinates."""


def measure(path: Path) -> Measures:
    """Volume, surface and bounding box of the STL file at ``path``, which is read once and never held whole.

    The volume is the sum over all triangles of the signed tetrahedra that they span with one point (the
    divergence theorem), so it is that of the solid if the mesh is closed. A mesh turned inside out has the
    volume of its mirror image.

    Raises:
        ValueError: no STL file, a truncated one or one without triangles. The message names file and place.
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        try:
            return _sum_up(_triangles(file, path.stat().st_size))
        except ValueError as error:
            raise ValueError(f"{path.name}: {error}") from None


def _sum_up(triangles: Iterable[Triangle]) -> Measures:
    count = 0
    sixfold = area = 0.0
    origin: Point = (0.0, 0.0, 0.0)
    low, high = [math.inf] * 3, [-math.inf] * 3
    for count, corners in enumerate(triangles, start=1):
        if count == 1:
            # Tetrahedra over a far point are huge and cancel badly, so the point is one of the mesh itself.
            origin = corners[0]
        for corner in corners:
            for axis in range(3):
                low[axis] = min(low[axis], corner[axis])
                high[axis] = max(high[axis], corner[axis])
        a, b, c = corners
        normal = _cross(_minus(b, a), _minus(c, a))
        area += math.hypot(*normal) / 2
        sixfold += _dot(_minus(a, origin), normal)
    if not count:
        raise ValueError("holds no triangles")
    return Measures(
        triangles=count,
        volume=abs(sixfold) / 6,
        area=area,
        low=(low[0], low[1], low[2]),
        high=(high[0], high[1], high[2]),
    )


def _triangles(file: BinaryIO, size: int) -> Iterator[Triangle]:
    start = file.read(_HEADER + _COUNT.size)
    file.seek(0)
    if len(start) == _HEADER + _COUNT.size:
        (count,) = _COUNT.unpack_from(start, _HEADER)
        wanted = _HEADER + _COUNT.size + count * 50
        if size == wanted:
            return _binary(file, count)
        if b"\0" in start:  # no text, whatever the first word is
            raise ValueError(f"binary STL of {count} triangles has {wanted} bytes, this file has {size}")
    if start.lstrip()[:5].lower() != b"solid":
        raise ValueError("neither a binary STL (its length does not fit) nor an ASCII one (no 'solid' in line 1)")
    return _ascii(file)


def _binary(file: BinaryIO, count: int) -> Iterator[Triangle]:
    file.seek(_HEADER + _COUNT.size)
    number = 0
    while number < count:
        block = file.read(min(_BLOCK, count - number) * _RECORD.size)
        if not block or len(block) % _RECORD.size:
            raise ValueError(f"ends within triangle {number + len(block) // _RECORD.size + 1} of {count}")
        for x in _RECORD.iter_unpack(block):
            number += 1
            if not all(map(math.isfinite, x)):
                raise ValueError(f"triangle {number} of {count}: a coordinate is not finite")
            yield x[0:3], x[3:6], x[6:9]


def _ascii(file: BinaryIO) -> Iterator[Triangle]:
    lines = _lines(file)
    number, words = next(lines)
    while words:
        _expect(number, words, "solid")
        number, words = next(lines)
        while words[:1] == ["facet"]:
            _expect(number, words, "facet normal")
            _expect(*next(lines), "outer loop")
            yield _vertex(*next(lines)), _vertex(*next(lines)), _vertex(*next(lines))
            _expect(*next(lines), "endloop")
            _expect(*next(lines), "endfacet")
            number, words = next(lines)
        _expect(number, words, "endsolid")
        number, words = next(lines)


def _lines(file: BinaryIO) -> Iterator[tuple[int, list[str]]]:
    """The number and the lower-case words of each line that is not empty; at the end no words, for ever."""
    number = 0
    while line := file.readline(_LONGEST_LINE):
        number += 1
        if not line.isascii() and not line.lstrip().lower().startswith((b"solid", b"endsolid")):
            raise ValueError(f"line {number}: not ASCII text")
        if words := line.decode("ascii", "replace").lower().split():
            yield number, words
    while True:
        yield number, []


def _expect(number: int, words: list[str], wanted: str) -> None:
    if words[: wanted.count(" ") + 1] != wanted.split():
        found = repr(" ".join(words)[:40]) if words else "the end of the file"
        raise ValueError(f"line {number}: {wanted!r} should stand here, found {found}")


def _vertex(number: int, words: list[str]) -> Point:
    _expect(number, words, "vertex")
    try:
        x, y, z = map(float, words[1:])
    except ValueError:
        raise ValueError(f"line {number}: 'vertex' needs three numbers, found {' '.join(words[1:])[:40]!r}") from None
    if not all(abs(value) <= _LARGEST for value in (x, y, z)):
        raise ValueError(f"line {number}: a coordinate is not a finite 32-bit number")
    return x, y, z


def _minus(a: Point, b: Point) -> Point:
    return a[0] - b[0], a[1] - b[1], a[2] - b[2]


def _dot(a: Point, b: Point) -> float:
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


def _cross(a: Point, b: Point) -> Point:
    return a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]
