"""What is wrong with a server, and what to do about it, in words."""

from __future__ import annotations

from collections.abc import Mapping

from asyncsched.stores._redis.address import Address

# Scripts that ask for the time and then write need 5.0; nothing before 6.2 is maintained by anybody.
OLDEST = (6, 2)
_FORGETS = "or say allow_volatile=True (?volatile=allow) if all of it may be lost"
_LOCKED = ("NOAUTH", "WRONGPASS", "invalid username-password", "already authenticated", "Authentication required")
# By what the server or the client says; the first that is found counts.
_CURES = (
    (("DB index is out of range",), "the server has no database of that number: most have 0 to 15, a cluster has 0"),
    (("read only replica", "READONLY"), "it is a replica, which only reads: name the primary in the URL"),
    (
        ("used memory > 'maxmemory'",),
        "its memory is full: raise maxmemory or make room; nothing was written, and later calls work again",
    ),
    (
        ("MISCONF", "unable to persist", "errors writing to the AOF"),
        "it cannot write to its disk: make room there; nothing was written, and later calls work again",
    ),
    (
        ("Hash slot not served", "CLUSTERDOWN", "cluster is down"),
        "the cluster is not whole: look at CLUSTER INFO there; later calls work again once it is",
    ),
    (("loading the dataset",), "it has just been started and reads its files; later calls work again"),
    (
        ("CERTIFICATE_VERIFY_FAILED", "certificate verify failed"),
        (
            "the server's certificate is not one that this URL trusts: let it bear the name of the host in the URL, "
            "and name who has signed it by ?ssl_ca_certs=/path/to/ca.pem"
        ),
    ),
    (
        ("Name or service not known", "nodename nor servname", "name resolution"),
        "check the name of the host in the URL",
    ),
)


def unfit(about: Mapping[str, str], *, volatile: bool) -> str | None:
    """Why a server cannot be used that says this of itself (``INFO``), and what to do; ``None``: it can.

    volatile: whether it may forget what it was told.
    """
    told = about.get("redis_version", "0")
    version = tuple(int(part) for part in told.split(".")[:2] if part.isdigit())
    if version < OLDEST:
        return f"the server is {told}, {'.'.join(map(str, OLDEST))} or later is needed: upgrade it, or take Valkey"
    if volatile:
        return None
    if about.get("aof_enabled") != "1":
        return f"the server forgets what it is told when it ends: set 'appendonly yes', {_FORGETS}"
    policy = about.get("maxmemory_policy", "noeviction")
    if policy != "noeviction":
        return (
            f"the server throws keys away when its memory is full (maxmemory-policy {policy}): "
            f"set 'maxmemory-policy noeviction', {_FORGETS}"
        )
    return None


def cure_of(error: BaseException, address: Address) -> str:
    """What to do about an error of the client, or of the server."""
    said, kinds = str(error), {kind.__name__ for kind in type(error).__mro__}
    if "MovedError" in kinds or said.startswith("MOVED "):
        cure = "name some of its nodes, which say where: 'redis+cluster://host:6379,host:6379'"
        return f"this is one node of a cluster, and the keys {address.prefix}* are at another: {cure}"
    if any(word in said for word in _LOCKED):
        return _credentials(said, address)
    if address.service and "has no permissions" in said and "nobody says" in said:
        return (
            "the user whom the Sentinels are asked as lacks a right: let him have '+sentinel|get-master-addr-by-name'"
        )
    if "NoPermissionError" in kinds:
        rights = f"~{address.prefix}* &{address.prefix}* +@all -@dangerous +info"
        return f"the user lacks a right: let him have '{rights}' (ACL SETUSER)"
    for words, cure in _CURES:
        if any(word in said for word in words):
            return cure
    if "ResponseError" in kinds and "ConnectionError" not in kinds:
        return "the server refuses; see its log"
    return "see whether the server runs there and may be reached; it is tried again"


def _credentials(said: str, address: Address) -> str:
    """What to do where a user is not known, or the password is another one: at whom, is said."""
    if not address.service:
        return "check user and password in the URL, as in redis://user:password@host:6379/0"
    sentinels = "?sentinel_username= and ?sentinel_password="
    if "nobody says" in said:
        return f"check {sentinels} in the URL: the Sentinels are not asked with user and password of the server"
    place = "redis+sentinel://user:password@host,host/service/0"
    return f"check user and password of the server in the URL, as in {place}: {sentinels} are for the Sentinels only"
