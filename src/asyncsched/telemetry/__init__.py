"""What a program can tell of its runs."""

from asyncsched.telemetry.logging import RunFields

__all__ = ["RunFields"]
