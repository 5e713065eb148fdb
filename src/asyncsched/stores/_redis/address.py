"""Where a Redis or Valkey server is, and what of it is ours."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from datetime import timedelta
from urllib.parse import SplitResult, parse_qsl, urlencode, urlsplit

from asyncsched.clock import SECOND_US
from asyncsched.duration import as_duration
from asyncsched.errors import ConfigError, DurationError
from asyncsched.values import VALUE_LIMIT

LEAST_LEASE_US, MOST_LEASE_US = 3 * SECOND_US, 86_400 * SECOND_US
_NAMESPACE = re.compile(r"[A-Za-z0-9_.:-]{1,64}")
_SCHEMES = ("redis", "rediss", "unix")
_PORTS = {"sentinel": 26_379, "cluster": 6_379}
_OWN = ("namespace", "lease", "volatile", "max_value_size", "stall_limit")
_LIKE = (
    "'redis://localhost:6379/0', 'rediss://' with TLS, 'unix:///run/redis.sock', "
    "'redis+sentinel://host,host/service/0', or 'redis+cluster://host,host'"
)


@dataclass(frozen=True, slots=True)
class Address:
    """A place at a server.

    url: as redis-py takes it; where others are asked for the server, with the first of them in its place.
    namespace: what all keys begin with, in braces, so that a cluster keeps them together.
    volatile: whether the server may forget what it was told.
    asked: the Sentinels that say where the primary of ``service`` is; without one, nodes of a cluster that say where
        the keys are. Empty: the server itself is named.
    secrets: user and password for the Sentinels.
    """

    url: str
    namespace: str = "asyncsched"
    volatile: bool = False
    asked: tuple[tuple[str, int], ...] = ()
    service: str = ""
    secrets: tuple[str | None, str | None] = field(default=(None, None), repr=False)

    @property
    def prefix(self) -> str:
        """What every key begins with."""
        return f"{{{self.namespace}}}:"

    def __str__(self) -> str:
        parts = urlsplit(self.url)
        if self.asked:
            hosts = ",".join(f"{f'[{host}]' if ':' in host else host}:{port}" for host, port in self.asked)
            kind = f"sentinel://{hosts}/{self.service}" if self.service else f"cluster://{hosts}"
            return f"{parts.scheme}+{kind} ({self.namespace})"
        where = parts.path if parts.scheme == "unix" else f"{parts.netloc.rpartition('@')[2]}{parts.path}"
        return f"{parts.scheme}://{where} ({self.namespace})"


def address_of(url: str, namespace: str, *, volatile: bool) -> Address:
    """The place that is named.

    Raises:
        ConfigError: none is.
    """
    address = _server_of(url)
    number = urlsplit(address.url).path.strip("/")
    if urlsplit(address.url).scheme != "unix" and number and not number.isdigit():
        raise ConfigError(f"url: the database {number!r} is no number: give one as in 'redis://localhost:6379/0'")
    if address.asked and not address.service and number.strip("0"):
        raise ConfigError(f"url: the database {number}: a cluster has only the database 0: leave it out")
    if not isinstance(namespace, str) or not _NAMESPACE.fullmatch(namespace):
        raise ConfigError(f"namespace={namespace!r}: 1 to 64 letters, digits, or any of _ . : -, such as 'asyncsched'")
    return replace(address, namespace=namespace, volatile=volatile)


def _server_of(url: str) -> Address:
    """The server that a URL names, or who is asked for it."""
    scheme, _, kind = _parts_of(url).scheme.partition("+") if isinstance(url, str) else ("", "", "")
    if scheme not in _SCHEMES or (kind and (kind not in _PORTS or scheme == "unix")):
        shown = url.rpartition("@")[2] if isinstance(url, str) else url
        raise ConfigError(f"url={shown!r}: give {_LIKE}")
    if not kind:
        return Address(url)
    parts = _parts_of(url)
    user, at, hosts = parts.netloc.rpartition("@")
    asked = tuple(_host_of(one, _PORTS[kind]) for one in hosts.split(","))
    service, _, number = parts.path.strip("/").partition("/") if kind == "sentinel" else ("", "", parts.path.strip("/"))
    if kind == "sentinel" and not service:
        raise ConfigError("url: Sentinels are asked for a service by its name: 'redis+sentinel://host,host/service/0'")
    given = dict(parse_qsl(parts.query, keep_blank_values=True))
    secrets = given.pop("sentinel_username", None), given.pop("sentinel_password", None)
    rest = f"{scheme}://{user}{at}{hosts.split(',')[0]}/{number}{'?' if given else ''}{urlencode(given)}"
    return Address(rest, asked=asked, service=service, secrets=secrets)


def _parts_of(url: str) -> SplitResult:
    """The parts of a URL that may name several hosts, of which ``urlsplit`` takes none that stands in brackets."""
    scheme, colon, rest = url.partition("://")
    hosts = re.split("[/?#]", rest, maxsplit=1)[0]
    return urlsplit(f"{scheme}{colon}{rest.removeprefix(hosts)}")._replace(netloc=hosts)


def _host_of(given: str, port: int) -> tuple[str, int]:
    try:
        parts = urlsplit(f"//{given}")
        host, port = parts.hostname or "", parts.port or port
    except ValueError:
        host = ""
    if not host:
        raise ConfigError(f"url: {given!r} is no host: give {_LIKE}")
    return host, port


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
    given = parse_qsl(_parts_of(url).query, keep_blank_values=True)
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
