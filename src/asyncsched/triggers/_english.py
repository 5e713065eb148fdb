"""The closed English behind ``when()``."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import TypeAlias

from asyncsched.errors import TriggerError
from asyncsched.triggers._base import Trigger
from asyncsched.triggers._combine import AnyOf
from asyncsched.triggers._cron import Cron
from asyncsched.triggers._simple import Every, Never

TriggerLike: TypeAlias = Trigger | str | timedelta | Sequence["TriggerLike"]


def parse_trigger(value: TriggerLike) -> Trigger:
    match value:
        case Trigger():
            return value
        case timedelta():
            return Every(value)
        case str():
            return Every(value.removeprefix("every ")) if value.startswith("every ") else Cron(value)
        case []:
            return Never()
        case [one]:
            return parse_trigger(one)
        case [*several]:
            return AnyOf(*map(parse_trigger, several))
    raise TriggerError(f"{value!r:.80}")
