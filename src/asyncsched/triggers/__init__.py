"""When something happens: sets of instants, without a clock."""

from asyncsched.triggers._base import Binding, Trigger
from asyncsched.triggers._calendar import Calendar
from asyncsched.triggers._combine import AllOf, AnyOf, Between
from asyncsched.triggers._cron import Cron
from asyncsched.triggers._english import TriggerLike, parse_trigger
from asyncsched.triggers._exclusion import Except
from asyncsched.triggers._simple import Daily, Every, Never, Once

__all__ = [
    "AllOf",
    "AnyOf",
    "Between",
    "Binding",
    "Calendar",
    "Cron",
    "Daily",
    "Every",
    "Except",
    "Never",
    "Once",
    "Trigger",
    "TriggerLike",
    "parse_trigger",
]
