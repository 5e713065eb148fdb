"""The workshop's functions on real files: meshes, results, archives. No scheduler."""

from __future__ import annotations

import io
import json
import math
import os
import random
import struct
import tarfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import time_machine

from workshop import shapes, stl, tasks
from workshop.stl import Measures, measure

NIGHT = datetime(2026, 11, 21, 1, 30, tzinfo=UTC)


def written(folder: Path, mesh: shapes.Mesh, form: shapes.Form = "binary") -> Measures:
    return measure(shapes.write(folder / f"{form}.stl", mesh, form))


@pytest.mark.parametrize("form", ["binary", "ascii"])
def test_a_box_is_measured_exactly(tmp_path: Path, form: shapes.Form) -> None:
    found = written(tmp_path, shapes.box(10, 20, 30, corner=(-5, 1, 2)), form)
    assert found == Measures(triangles=12, volume=6000, area=2200, low=(-5, 1, 2), high=(5, 21, 32))


@pytest.mark.parametrize("mesh", [shapes.sphere(12.5), shapes.gear(24, 36, 8)], ids=["sphere", "gear"])
def test_both_forms_give_equal_measures(tmp_path: Path, mesh: shapes.Mesh) -> None:
    assert written(tmp_path, mesh, "binary") == written(tmp_path, mesh, "ascii")


def test_a_fine_sphere_is_nearly_a_ball(tmp_path: Path) -> None:
    found = written(tmp_path, shapes.sphere(10, rings=48, centre=(5, 5, 5)))
    assert found.triangles == 4 * 48 * 47
    assert found.volume == pytest.approx(4 / 3 * math.pi * 1000, rel=0.005)
    assert found.area == pytest.approx(4 * math.pi * 100, rel=0.005)
    assert found.low == pytest.approx((-5, -5, -5))
    assert found.high == pytest.approx((15, 15, 15))


def test_a_gear_has_the_volume_of_its_outline_times_its_height(tmp_path: Path) -> None:
    thin, thick = written(tmp_path, shapes.gear(9, 13.5, 1)), written(tmp_path, shapes.gear(9, 13.5, 12))
    assert thick.volume == pytest.approx(12 * thin.volume, rel=1e-5)
    assert math.pi * (13.5 * 7 / 9) ** 2 * 0.9 < thin.volume < math.pi * 13.5**2


def test_a_mesh_that_is_not_closed_measures_the_same_wherever_it_stands(tmp_path: Path) -> None:
    walls = [shapes.box(1, 2, 3, corner=(place, place, place))[:6] for place in (0, 1000)]
    here, there = (written(tmp_path, mesh).volume for mesh in walls)
    assert here == there


def test_a_mesh_turned_inside_out_has_the_same_volume(tmp_path: Path) -> None:
    assert written(tmp_path, [(a, c, b) for a, b, c in shapes.box(2, 3, 4)]).volume == 24


def test_a_binary_file_may_begin_with_the_word_solid(tmp_path: Path) -> None:
    path = shapes.write(tmp_path / "solid and sound.stl", shapes.box(2, 3, 4))
    assert path.read_bytes().startswith(b"solid")
    assert measure(path).volume == 24


def test_more_triangles_than_one_block_are_all_read(tmp_path: Path) -> None:
    cubes = [triangle for x in range(200) for triangle in shapes.box(1, 1, 1, corner=(2 * x, 0, 0))]
    found = written(tmp_path, cubes)
    assert (found.triangles, found.volume, found.high) == (2400, 200, (399, 1, 1))


def test_ascii_in_any_case_with_names_and_several_solids_is_read(tmp_path: Path) -> None:
    text = "\n".join(shapes._lines("x", shapes.box(1, 2, 3)))
    path = tmp_path / "two.stl"
    again = "\n".join(shapes._lines("y", shapes.box(1, 2, 3, corner=(9, 9, 9))))
    path.write_bytes("\r\n".join(("Solid Flügel", *text.upper().splitlines()[1:], "", again)).encode("latin-1"))
    assert measure(path).volume == 12


BOX = shapes.box(1, 1, 1)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "neither a binary STL"),
        (b"hello", "neither a binary STL"),
        (b"\x89PNG" + b"\0" * 200, "has 84 bytes, this file has 204"),
        (b"solid", "line 1: 'endsolid' should stand here, found the end of the file"),
        (b"solid x\nendsolid x\n", "holds no triangles"),
        (b"\0" * 84, "holds no triangles"),
        (b"solid x\nfacet normal 0 0 1\nouter loop\nvertex 1 2\n", "line 4: .* three numbers, found '1 2'"),
        (b"solid x\nfacet normal 0 0 1\nouter loop\nvertex 1 2 three\n", "line 4: .* found '1 2 three'"),
        (b"solid x\nfacet normal 0 0 1\nouter loop\nvertex 1 2 nan\n", "line 4: a coordinate is not a finite"),
        (b"solid x\nfacet normal 0 0 1\nouter loop\nvertex 1 2 1e99\n", "line 4: a coordinate is not a finite"),
        (b"solid x\nfacet normal 0 0 1\nvertex 1 2 3\n", "line 3: 'outer loop' .* found 'vertex 1 2 3'"),
        (b"solid x\n\xff\xfe\n", "line 2: not ASCII"),
        (b"solid " + b"x" * 5000, "line 2: 'endsolid' should stand here"),
        (b"name".ljust(80) + struct.pack("<I", 1) + struct.pack("<12fH", *[0.0] * 11, math.nan, 0), "triangle 1 of 1"),
        (b"solid".ljust(80) + struct.pack("<I", 3) + b"\0" * 100, "3 triangles has 234 bytes, this file has 184"),
    ],
)  # fmt: skip
def test_what_is_no_mesh_is_an_error_that_names_file_and_place(tmp_path: Path, content: bytes, says: str) -> None:
    path = tmp_path / "part.stl"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=rf"^part\.stl: .*{says}"):
        measure(path)


@pytest.mark.parametrize("form", ["binary", "ascii"])
def test_a_file_cut_anywhere_is_an_error_never_a_wrong_measure(tmp_path: Path, form: shapes.Form) -> None:
    whole = shapes.write(tmp_path / "whole.stl", BOX, form).read_bytes().rstrip()
    path = tmp_path / "cut.stl"
    # The ASCII form may lose the name at its end, but not the word before it.
    last = len(whole) if form == "binary" else whole.rindex(b"endsolid") + len("endsolid")
    for length in random.Random(1).sample(range(last), 200):
        path.write_bytes(whole[:length])
        with pytest.raises(ValueError, match=r"^cut\.stl: "):
            measure(path)


def test_a_file_that_shrinks_while_it_is_read_is_an_error(tmp_path: Path) -> None:
    whole = shapes.write(tmp_path / "whole.stl", BOX).read_bytes()
    with pytest.raises(ValueError, match="ends within triangle 7 of 12"):
        list(stl._triangles(io.BytesIO(whole[: 84 + 6 * 50 + 49]), len(whole)))


def test_random_bytes_are_an_error(tmp_path: Path) -> None:
    path, source = tmp_path / "noise.stl", random.Random(2)
    for length in range(0, 2000, 20):
        path.write_bytes(source.randbytes(length))
        with pytest.raises(ValueError, match=r"^noise\.stl: "):
            measure(path)


def test_computing_writes_one_result_for_each_file_and_leaves_the_unchanged_alone(tmp_path: Path) -> None:
    parts, results = tmp_path / "parts", tmp_path / "results"
    with time_machine.travel(NIGHT, tick=False) as clock:
        shapes.stock(parts)
        clock.shift(60)
        first = tasks.compute(parts, results)
        clock.shift(86_400)
        second = tasks.compute(parts, results)
        shapes.write(parts / "plate.stl", shapes.box(1, 2, 3))
        clock.shift(86_400)
        third = tasks.compute(parts, results)
    assert (len(first.measured), first.unchanged, str(first)) == (5, 0, "5 measured, 0 unchanged")
    assert (len(second.measured), second.unchanged) == (0, 5)
    assert (third.measured, third.unchanged) == (("plate.stl",), 4)
    names = ["ball.json", "block.json", "pinion.json", "plate.json", "wheel.json"]
    assert sorted(path.name for path in results.iterdir()) == names
    plate = json.loads((results / "plate.json").read_text())
    assert (plate["model"], plate["volume"], plate["high"]) == ("plate.stl", 6, [1, 2, 3])
    assert plate["measured_at"] == "2026-11-23T01:31:00+00:00"


def test_a_file_as_old_as_its_result_is_measured_again(tmp_path: Path) -> None:
    with time_machine.travel(NIGHT, tick=False):
        shapes.write(tmp_path / "a.stl", BOX)
        assert [tasks.compute(tmp_path, tmp_path).measured for _ in range(2)] == [("a.stl",), ("a.stl",)]


def test_a_bad_file_stops_no_other_and_is_tried_again(tmp_path: Path) -> None:
    (tmp_path / "bad.stl").write_bytes(b"half a fi")
    shapes.write(tmp_path / "good.stl", BOX)
    found = tasks.compute(tmp_path, tmp_path / "results")
    assert found.measured == ("good.stl",)
    assert found.refused[0].startswith("bad.stl: ")
    assert "refused bad.stl: " in str(found)
    shapes.write(tmp_path / "bad.stl", BOX)
    assert "bad.stl" in tasks.compute(tmp_path, tmp_path / "results").measured


def test_a_backup_holds_every_file_and_the_oldest_make_room(tmp_path: Path) -> None:
    parts, target = tmp_path / "parts", tmp_path / "backups"
    made = shapes.stock(parts)
    with time_machine.travel(NIGHT, tick=False) as clock:
        for _ in range(4):
            last = tasks.backup(parts, target, keep=3)
            clock.shift(6 * 3600)
    kept = ["parts-20261121T073000Z.tar.gz", "parts-20261121T133000Z.tar.gz", "parts-20261121T193000Z.tar.gz"]
    assert sorted(path.name for path in target.iterdir()) == kept
    assert (last.archive, last.files, last.removed) == (kept[-1], 5, ("parts-20261121T013000Z.tar.gz",))
    assert str(last).startswith("parts-20261121T193000Z.tar.gz: 5 files, ")
    with tarfile.open(target / last.archive) as tar:
        packed = {member.name: content.read() for member in tar if (content := tar.extractfile(member))}
    assert packed == {f"parts/{path.name}": path.read_bytes() for path in made}


def test_a_backup_that_fails_leaves_nothing_and_the_older_ones_stay(tmp_path: Path) -> None:
    parts, target = tmp_path / "parts", tmp_path / "backups"
    shapes.write(parts / "a.stl", BOX)
    with time_machine.travel(NIGHT, tick=False) as clock:
        tasks.backup(parts, target, keep=1)
        clock.shift(3600)
        # An archive cannot take the place of a folder, so the very last step fails.
        (target / "parts-20261121T023000Z.tar.gz").mkdir()
        with pytest.raises(OSError, match="parts-20261121T023000Z"):
            tasks.backup(parts, target, keep=1)
    kept = ["parts-20261121T013000Z.tar.gz", "parts-20261121T023000Z.tar.gz"]
    assert sorted(path.name for path in target.iterdir()) == kept


def test_a_killed_backup_is_cleared_away_by_the_next(tmp_path: Path) -> None:
    shapes.write(tmp_path / "parts" / "a.stl", BOX)
    (tmp_path / ".parts-20261120T000000Z.tar.gz.partial").write_bytes(b"half")
    made = tasks.backup(tmp_path / "parts", tmp_path, keep=2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["parts", made.archive]


def test_keeping_no_backup_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="keep=0"):
        tasks.backup(tmp_path, tmp_path, keep=0)


def test_cleaning_deletes_what_is_older_and_tells_it(tmp_path: Path) -> None:
    with time_machine.travel(NIGHT, tick=False):
        for name, days in (("old", 31), ("edge", 30), ("new", 1)):
            (tmp_path / f"{name}.json").touch()
            date = (NIGHT - timedelta(days=days)).timestamp()
            os.utime(tmp_path / f"{name}.json", (date, date))
        found = tasks.clean(tmp_path, timedelta(days=30))
    assert (found.removed, found.kept, str(found)) == (("old.json",), 2, "1 results removed, 2 kept")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["edge.json", "new.json"]


def test_cleaning_where_nothing_was_ever_computed_does_nothing(tmp_path: Path) -> None:
    assert str(tasks.clean(tmp_path / "none", timedelta(days=1))) == "0 results removed, 0 kept"
