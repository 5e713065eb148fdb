"""Which scheduler is meant."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from asyncsched import Scheduler
from asyncsched.cli._target import TargetError, find

TWO = """
from asyncsched import Registry, Scheduler
own = Registry()
one, other = Scheduler(registry=own), Scheduler(registry=own)
class Inner:
    scheduler = one
def make():
    return Scheduler(registry=own, tz="Asia/Seoul")
def broken():
    return 1 / 0
"""


def write(here: Path, name: str, text: str) -> None:
    (here / name).parent.mkdir(parents=True, exist_ok=True)
    (here / name).write_text(text, encoding="utf-8")


def refusal(here: Path, text: str, *, factory: bool = False) -> str:
    with pytest.raises(TargetError) as caught:
        find(text, here, factory=factory)
    return str(caught.value)


@pytest.mark.parametrize("text", ["app", "app:scheduler", "app.py", "app.py:scheduler", "app:"])
def test_a_module_and_a_file_are_found_with_and_without_the_attribute(here: Path, text: str) -> None:
    found = find(text, here)
    assert isinstance(found.scheduler, Scheduler)
    assert [task.id for task in found.scheduler.served()][:2] == ["app:fetch", "app:backup"]
    assert found.note == ""


def test_a_file_is_imported_once_under_its_stem(here: Path) -> None:
    write(here, "deep/shop.py", "import asyncsched, side\nscheduler = asyncsched.Scheduler()\n")
    write(here, "deep/side.py", "def late():\n    import shop\n    return shop\n")
    first = find("deep/shop.py", here).scheduler
    assert sys.modules["shop"].scheduler is first
    assert sys.modules["side"].late().scheduler is first
    assert find("deep/shop.py", here).scheduler is first


def test_a_module_in_a_package_is_found_by_its_dotted_name(here: Path) -> None:
    write(here, "parcel/__init__.py", "")
    write(
        here, "parcel/inner.py", "from asyncsched import Scheduler\nfrom . import __name__ as parent\ns = Scheduler()"
    )
    assert find("parcel.inner", here).name == "parcel.inner:s"
    assert "name it as package.module" in refusal(here, "parcel/inner.py")


def test_one_scheduler_of_two_must_be_named(here: Path) -> None:
    write(here, "two.py", TWO)
    assert refusal(here, "two") == "two holds 2 schedulers: name one, two:one or two:other"
    module = sys.modules["two"]
    assert find("two:other", here).scheduler is module.other
    assert find("two:Inner.scheduler", here).scheduler is module.one
    assert refusal(here, "two:onne") == "two has no 'onne': there is two:one or two:other"


def test_a_factory_is_called_only_when_asked(here: Path) -> None:
    write(here, "two.py", TWO)
    assert refusal(here, "two:make") == "two:make is a function: if it makes a Scheduler, say --factory"
    assert find("two:make", here, factory=True).scheduler.tz == "Asia/Seoul"
    assert "ZeroDivisionError: division by zero" in refusal(here, "two:broken", factory=True)
    assert "leave --factory out" in refusal(here, "two:one", factory=True)
    assert "is <class 'two.Inner'>, not a Scheduler" in refusal(here, "two:Inner")


def test_a_registry_is_served_and_told(here: Path) -> None:
    write(here, "own.py", "from asyncsched import Registry\nr = Registry()\n@r.every('5s')\ndef f(): ...\n")
    found = find("own", here)
    assert [task.id for task in found.scheduler.served()] == ["own:f"]
    assert found.note.startswith("own holds no Scheduler: its tasks are served")
    assert [task.id for task in find("own:r", here).scheduler.served()] == ["own:f"]


def test_nothing_to_serve_is_an_error(here: Path) -> None:
    write(here, "empty.py", "x = 1")
    assert refusal(here, "empty") == "empty holds no Scheduler and declares no task: nothing can be served"


def test_what_is_not_there_is_told_with_what_is_near(here: Path) -> None:
    assert refusal(here, "ap.py").endswith("ap.py: did you mean app.py?")
    assert "there is no module 'ap'" in refusal(here, "ap")
    assert refusal(here, "ap").endswith("did you mean app?")
    assert refusal(here, "nothing.at.all").endswith("--app-dir says where to look")
    assert refusal(here, "a b").startswith("'a b' is neither a module nor a file")


def test_a_file_cannot_take_the_name_of_a_module_in_use(here: Path) -> None:
    write(here, "json.py", "")
    assert "rename the file" in refusal(here, "json.py")


def test_an_import_that_fails_shows_the_users_own_lines_alone(here: Path) -> None:
    write(here, "caller.py", "import callee\n")
    write(here, "callee.py", "import nothing_of_that_name\n")
    for text in ("caller", "caller.py"):
        said = refusal(here, text)
        assert 'caller.py", line 1' in said
        assert 'callee.py", line 1' in said
        assert said.endswith("ModuleNotFoundError: No module named 'nothing_of_that_name'")
        assert said.count("File ") == 2


def test_a_wrong_decorator_is_shown_where_it_stands(here: Path) -> None:
    write(here, "wrong.py", "from asyncsched import Registry\n@Registry().cron('0 25 * * *')\ndef f(): ...\n")
    said = refusal(here, "wrong")
    assert said.count("File ") == 1
    assert said.endswith('@cron("0 25 * * *"): hour 25 is not in 0-23 (field 2 of 5), wrong.py:2')


def test_a_module_that_ends_the_program_is_told_the_cure(here: Path) -> None:
    write(here, "ends.py", "raise SystemExit(3)")
    assert "(exit code 3)" in refusal(here, "ends")
    assert "__main__" in refusal(here, "ends.py")


def test_a_syntax_error_is_shown(here: Path) -> None:
    write(here, "broken.py", "def f(:\n")
    assert refusal(here, "broken").endswith("SyntaxError: invalid syntax")
