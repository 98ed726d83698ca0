"""Origins: which names of this server a request may use, and pages of which sites may send it.

A page of another site can make a browser send requests to a server on loopback, and a name that
such a site points at 127.0.0.1 makes them look like its own. So the Host header must be a name
that the server was started for, and an Origin must be the server's own or one that the config
names. Sources: RFC 9110 section 7.2; the Fetch standard, "CORS protocol".
"""

import ipaddress
import re
import socket
from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import urlsplit

from starlette.types import Scope

from runner.config import ServerSettings
from runner.errors import RequestError

LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
METHODS = b"GET, POST, PUT, DELETE"
PREFLIGHT_S = b"600"
EXPOSED = (
    b"x-request-id, retry-after, retry-after-ms, x-should-retry, x-ratelimit-limit-requests,"
    b" x-ratelimit-remaining-requests, x-ratelimit-reset-requests"
)
SHOWN_CHARS = 100
HOST = re.compile(r"(?:\[(?P<v6>[0-9a-f:.]+)\]|(?P<name>[^:\[\]]*))(?::[0-9]*)?", re.ASCII)
"""RFC 9112 section 3.2: a name or a number, and a port; what else there is makes it no name."""
PAGES_OF_OWN = (None, "same-origin", "none")
"""What a browser says of a request that no other site's page sent: Sec-Fetch-Site."""
OWN_COOKIE = re.compile(rb"cellblock_\d{1,5}=[\w.~-]{1,500}")
Headers = list[tuple[bytes, bytes]]


class Hosts(NamedTuple):
    """Names of the server. `any_address` takes numeric addresses too: no site can own one."""

    names: frozenset[str]
    any_address: bool
    below: str = ""
    """`.DOMAIN`, all names below which are the server's; empty if there is none."""

    @classmethod
    def of(cls, settings: ServerSettings) -> "Hosts":
        """Return the names that a server with these settings is started for."""
        names = {name_of(name) for name in settings.hosts} | {name_of(settings.host)}
        try:
            bound = ipaddress.ip_address(name_of(settings.host))
            is_everywhere, is_loopback = bound.is_unspecified, bound.is_loopback
        except ValueError:
            is_everywhere, is_loopback = not settings.host, settings.host == "localhost"
        if is_everywhere or is_loopback:
            names |= LOOPBACK
        if is_everywhere:
            own = socket.gethostname().lower()
            names |= {own, f"{own}.local"}
        below = f".{name_of(settings.e2b_domain)}" if settings.e2b_domain else ""
        return cls(frozenset(names - {""}), is_everywhere, below)

    def has(self, host: str) -> bool:
        """Return whether `host`, a Host header's value, is a name of the server."""
        name = name_of(host)
        if self.below and name.endswith(self.below):
            return True
        return name in self.names or (self.any_address and _is_address(name))


class OriginCheck:
    """Decides on requests by their Host, Origin and credentials."""

    def __init__(self, settings: ServerSettings) -> None:
        self._hosts = Hosts.of(settings)
        self._origins = frozenset(origin.lower().rstrip("/") for origin in settings.cors_origins)

    def check(self, scope: Mapping[str, object], headers: Headers) -> None:
        """Refuse a request that another site may be behind. Raises RequestError."""
        host = self._host(scope, headers)
        origin = _only(headers, b"origin")
        is_foreign = origin is not None and not _is_own(origin, host)
        if is_foreign and not self._is_named(origin):
            raise RequestError(
                "forbidden",
                f"Pages of the origin {str(origin)[:SHOWN_CHARS]!r} may not use this server; its"
                " owner can name it in [server] cors_origins.",
            )
        referer = _only(headers, b"referer")
        is_foreign |= referer is not None and not _is_own(referer, host)
        if is_foreign or _only(headers, b"sec-fetch-site") not in PAGES_OF_OWN:
            kind = (_only(headers, b"authorization") or "").partition(" ")[0]
            if kind.lower() == "basic":
                # A browser adds them by itself, to a page's requests too.
                message = "Basic credentials are not taken from pages of other origins."
                raise RequestError("forbidden", message)

    def answers(self, headers: Headers) -> Headers:
        """Headers of an answer that a page of a named origin may read."""
        origin = _only(headers, b"origin")
        if origin is None or not self._is_named(origin):
            return []
        return [
            (b"access-control-allow-origin", origin.encode("latin-1")),
            (b"access-control-expose-headers", EXPOSED),
            (b"vary", b"Origin"),
        ]

    def preflight(self, method: str, headers: Headers) -> Headers | None:
        """The answer's headers when the request only asks what is allowed; None if it does not."""
        origin = _only(headers, b"origin")
        wanted = _only(headers, b"access-control-request-method")
        if method != "OPTIONS" or wanted is None or not self._is_named(origin):
            return None
        asked = _only(headers, b"access-control-request-headers") or ""
        return [
            *self.answers(headers),
            (b"access-control-allow-methods", METHODS),
            (b"access-control-allow-headers", asked.encode("latin-1")),
            (b"access-control-max-age", PREFLIGHT_S),
        ]

    def _host(self, scope: Mapping[str, object], headers: Headers) -> str:
        host = _only(headers, b"host")
        if host is None:
            if scope.get("http_version") == "1.0":
                return ""
            raise RequestError("forbidden", "The request has no Host header.")
        if not self._hosts.has(host):
            raise RequestError(
                "forbidden",
                f"This server was not started for the host {host[:SHOWN_CHARS]!r}; its owner can"
                " name it in [server] hosts.",
            )
        return host

    def _is_named(self, origin: str | None) -> bool:
        if origin is None or origin == "null":
            return False
        return "*" in self._origins or origin.lower() in self._origins


def name_of(host: str) -> str:
    """Return the name in `host[:port]`, as names are compared."""
    found = HOST.fullmatch(host.strip().lower())
    if found is None:
        # The settings may name an address of version 6 as it is.
        return host.strip().lower() if _is_address(host.strip()) else ""
    if found["v6"] is not None:
        return found["v6"] if _is_address(found["v6"]) and ":" in found["v6"] else ""
    return found["name"].removesuffix(".")


def _only(headers: Headers, name: bytes) -> str | None:
    """Return the one value of a header. Raises RequestError when it was sent twice."""
    found = [value for key, value in headers if key == name]
    if len(found) > 1:
        raise RequestError("forbidden", f"The header {name.decode()} was sent more than once.")
    return found[0].decode("latin-1") if found else None


def _is_own(origin: str, host: str) -> bool:
    try:
        parts = urlsplit(origin.lower())
    except ValueError:
        return False  # Such as a bracket without its other half.
    return parts.scheme in ("http", "https") and bool(host) and parts.netloc == host.lower()


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def keep_own_cookies(scope: Scope) -> None:
    """Leave no cookies in the request's headers but the page's, in the form that it gives them.

    To read a quoted one takes Python before 3.11.10 quadratic time (CVE-2024-7592): 60 kB of
    backslashes are 4 s on the event loop.
    """
    headers: list[tuple[bytes, bytes]] = scope["headers"]
    if not any(name == b"cookie" for name, _ in headers):
        return
    found = [
        cookie
        for name, value in headers
        if name == b"cookie"
        for cookie in map(bytes.strip, value.split(b";"))
        if OWN_COOKIE.fullmatch(cookie)
    ]
    kept = [pair for pair in headers if pair[0] != b"cookie"]
    scope["headers"] = [*kept, (b"cookie", b"; ".join(found))] if found else kept
