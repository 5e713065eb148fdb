"""Where a Redis or Valkey server is, and what of it is ours."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import timedelta
from urllib.parse import parse_qsl, urlencode, urlsplit

from asyncsched.clock import SECOND_US
from asyncsched.duration import as_duration
from asyncsched.errors import ConfigError, DurationError
from asyncsched.values import VALUE_LIMIT

LEAST_LEASE_US, MOST_LEASE_US = 3 * SECOND_US, 86_400 * SECOND_US
_NAMESPACE = re.compile(r"[A-Za-z0-9_.:-]{1,64}")
_SCHEMES = ("redis", "rediss", "unix")
_OWN = ("namespace", "lease", "volatile", "max_value_size", "stall_limit")


@dataclass(frozen=True, slots=True)
class Address:
    """A place at a server.

    url: as redis-py takes it.
    namespace: what all keys begin with, in braces, so that a cluster keeps them together.
    volatile: whether the server may forget what it was told.
    """

    url: str
    namespace: str = "asyncsched"
    volatile: bool = False

    @property
    def prefix(self) -> str:
        """What every key begins with."""
        return f"{{{self.namespace}}}:"

    def __str__(self) -> str:
        parts = urlsplit(self.url)
        where = parts.path if parts.scheme == "unix" else f"{parts.netloc.rpartition('@')[2]}{parts.path}"
        return f"{parts.scheme}://{where} ({self.namespace})"


def address_of(url: str, namespace: str, *, volatile: bool) -> Address:
    """The place that is named.

    Raises:
        ConfigError: none is.
    """
    if not isinstance(url, str) or urlsplit(url).scheme not in _SCHEMES:
        shown = url.rpartition("@")[2] if isinstance(url, str) else url
        raise ConfigError(
            f"url={shown!r}: give 'redis://localhost:6379/0', 'rediss://' with TLS, or 'unix:///run/redis.sock'"
        )
    parts = urlsplit(url)
    if parts.scheme != "unix" and not (number := parts.path.strip("/")).isdigit() and number:
        raise ConfigError(f"url: the database {number!r} is no number: give one as in 'redis://localhost:6379/0'")
    if not isinstance(namespace, str) or not _NAMESPACE.fullmatch(namespace):
        raise ConfigError(f"namespace={namespace!r}: 1 to 64 letters, digits, or any of _ . : -, such as 'asyncsched'")
    return Address(url, namespace, volatile)


def lease_of(lease: timedelta | str) -> int:
    """How long a lease is, in microseconds.

    Raises:
        ConfigError: it is none.
    """
    given_us = as_duration("lease", lease) // timedelta(microseconds=1)
    if not LEAST_LEASE_US <= given_us <= MOST_LEASE_US:
        raise ConfigError(f"lease={lease!r}: from '3s' to '1d', such as '20s'")
    return given_us


def split_url(url: str) -> tuple[str, dict[str, str]]:
    """The URL as redis-py takes it, and what of its query is for the store.

    Raises:
        ConfigError: an option cannot be that.
    """
    parts = urlsplit(url)
    given = parse_qsl(parts.query, keep_blank_values=True)
    own = {name: value for name, value in given if name in _OWN}
    if own.get("volatile", "refuse") not in ("refuse", "allow"):
        raise ConfigError(f"volatile={own['volatile']!r}: allow, or refuse, which is the default")
    size = own.get("max_value_size", str(VALUE_LIMIT))
    if not (size.isascii() and size.isdigit()):
        raise ConfigError(f"max_value_size={size!r}: a whole number of bytes, such as 65536")
    try:
        lease_of(own.get("lease", "20s"))
    except DurationError as error:
        raise ConfigError(f"lease={own['lease']!r}: {error}") from None
    rest = urlencode([(name, value) for name, value in given if name not in _OWN])
    place = url.partition("?")[0]
    return f"{place}?{rest}" if rest else place, own
