"""`E2B_DOMAIN`: E2B's clients reach the API and each sandbox by a name below one domain.

`https://api.DOMAIN/v2/sandboxes` is `/e2b/v2/sandboxes` here, and `https://PORT-ID.DOMAIN/execute`
is `/e2b/execute` of the sandbox ID. A proxy that has the domain's certificate stands before the
server and leaves the Host header as it is.
"""

import re
from typing import Any

from starlette.types import Scope

from runner.errors import RequestError
from runner.server.e2b.access import SANDBOX_ID
from runner.server.http.origins import name_of

API = "api"
SANDBOX = re.compile(r"([0-9]{1,5})-([A-Za-z0-9]{1,64})", re.ASCII)
PORTS = ("49983", "49999")
"""Of the services that a sandbox of E2B's has itself: files and commands, and code."""


class E2bDomain:
    """The names below one domain. An empty one has none."""

    def __init__(self, domain: str) -> None:
        self._suffix = f".{name_of(domain)}" if domain else ""

    def placed(self, scope: Scope) -> Scope:
        """`scope` as the server's own routes have it, if it came by one of the names.

        Raises RequestError for a port of a sandbox, of which none are published.
        """
        if not self._suffix:
            return scope
        host = next((value for name, value in scope["headers"] if name == b"host"), b"")
        name = name_of(host.decode("latin-1"))
        if not name.endswith(self._suffix):
            return scope
        label = name.removesuffix(self._suffix)
        if label == API:
            return {**scope, **_below_e2b(scope)}
        found = SANDBOX.fullmatch(label)
        if found is None:
            return scope
        port, sandbox_id = found.groups()
        if port not in PORTS:
            message = f"Port {port} of a sandbox: this server publishes no ports of sandboxes."
            raise RequestError("not_found", message)
        named = SANDBOX_ID.encode()
        others = [one for one in scope["headers"] if one[0] != named]
        headers = [*others, (named, sandbox_id.encode())]
        return {**scope, **_below_e2b(scope), "headers": headers}


def _below_e2b(scope: Scope) -> dict[str, Any]:
    raw = scope.get("raw_path")
    return {
        "path": f"/e2b{scope['path']}",
        "raw_path": None if raw is None else b"/e2b" + raw,
    }
