"""Access: whose key a request to E2B's API shows, and which sandbox one to a sandbox is for."""

import base64
import hashlib
import hmac
import time
from typing import Annotated

from fastapi import Depends, Request

from runner.errors import RequestError, ServerStopping
from runner.server.accounts import Account
from runner.server.e2b.sandboxes import E2bSandbox, Sandboxes
from runner.server.e2b.snapshots import Snapshots
from runner.server.routes.access import TheServices

API_KEY = "x-api-key"
SANDBOX_ID = "e2b-sandbox-id"
EXPIRES_DIGITS = 12
TOKENS = ("x-access-token", "e2b-traffic-access-token")


async def sandboxes_of(request: Request) -> Sandboxes:
    """Return the sandboxes of the app that serves `request`."""
    found = request.app.state.e2b
    assert isinstance(found, Sandboxes)
    return found


async def snapshots_of(request: Request) -> Snapshots:
    """Return the snapshots of the app that serves `request`."""
    found = request.app.state.e2b_snapshots
    assert isinstance(found, Snapshots)
    return found


TheSnapshots = Annotated[Snapshots, Depends(snapshots_of)]
TheSandboxes = Annotated[Sandboxes, Depends(sandboxes_of)]


async def owner_of(request: Request, services: TheServices) -> Account:
    """Whose key came with the request; it counts from now. Raises RequestError, ServerStopping."""
    account = services.accounts.find(
        f"Bearer {request.headers.get(API_KEY, '')}", header=f"{API_KEY}: KEY"
    )
    _count(request, account, is_stopping=services.streams.is_stopping)
    return account


async def sandbox_of(
    request: Request, services: TheServices, sandboxes: TheSandboxes
) -> E2bSandbox:
    """The sandbox that a request is for, whose token it shows; it counts for the sandbox's key.

    Raises RequestError, SandboxGone, ServerStopping.
    """
    sandbox_id = request.headers.get(SANDBOX_ID, "")
    if not sandbox_id:
        raise RequestError("invalid", f"The request has no {SANDBOX_ID} header.")
    shown = [request.headers[name] for name in TOKENS if name in request.headers]
    found = sandboxes.opened(sandbox_id, *shown)
    _count(request, found.account, is_stopping=services.streams.is_stopping)
    return found


async def signed_sandbox(
    request: Request, services: TheServices, sandboxes: TheSandboxes
) -> E2bSandbox:
    """The sandbox whose token a URL was signed with; for that file and that use alone.

    Raises RequestError, SandboxGone, ServerStopping.
    """
    asked = request.query_params
    expires = asked.get("signature_expiration", "")
    if expires and not (expires.isascii() and expires.isdigit() and len(expires) <= EXPIRES_DIGITS):
        raise RequestError("invalid", "signature_expiration: is no time.")
    if expires and int(expires) < time.time():
        raise RequestError("key", "signature is already expired")
    use = "read" if request.method == "GET" else "write"
    facts = [asked.get("path", ""), use, asked.get("username", "")]
    found: E2bSandbox | None = None
    sent = asked.get("signature", "").encode("utf-8", "surrogateescape")
    for one in sandboxes.all():
        signed = ":".join([*facts, one.token, *([expires] if expires else [])])
        digest = base64.b64encode(hashlib.sha256(signed.encode()).digest()).rstrip(b"=")
        if hmac.compare_digest(b"v1_" + digest, sent):
            found = one
    if found is None:
        raise RequestError("key", "The signature is not that of a sandbox here for this file.")
    opened = sandboxes.opened(found.id, found.token)
    _count(request, opened.account, is_stopping=services.streams.is_stopping)
    return opened


def _count(request: Request, account: Account, *, is_stopping: bool) -> None:
    request.scope["state"]["owner"] = account.owner
    if is_stopping:
        raise ServerStopping
    account.charge()


TheOwner = Annotated[Account, Depends(owner_of)]
TheSigned = Annotated[E2bSandbox, Depends(signed_sandbox)]
TheSandbox = Annotated[E2bSandbox, Depends(sandbox_of)]
