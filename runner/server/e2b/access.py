"""Access: whose key a request to E2B's API shows, and which sandbox one to a sandbox is for."""

from typing import Annotated

from fastapi import Depends, Request

from runner.errors import RequestError, ServerStopping
from runner.server.accounts import Account
from runner.server.e2b.sandboxes import E2bSandbox, Sandboxes
from runner.server.routes.access import TheServices

API_KEY = "x-api-key"
SANDBOX_ID = "e2b-sandbox-id"
TOKENS = ("x-access-token", "e2b-traffic-access-token")


async def sandboxes_of(request: Request) -> Sandboxes:
    """Return the sandboxes of the app that serves `request`."""
    found = request.app.state.e2b
    assert isinstance(found, Sandboxes)
    return found


TheSandboxes = Annotated[Sandboxes, Depends(sandboxes_of)]


async def owner_of(request: Request, services: TheServices) -> Account:
    """Whose key came with the request; it counts from now. Raises RequestError, ServerStopping."""
    account = services.accounts.find(f"Bearer {request.headers.get(API_KEY, '')}")
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


def _count(request: Request, account: Account, *, is_stopping: bool) -> None:
    request.scope["state"]["owner"] = account.owner
    if is_stopping:
        raise ServerStopping
    account.charge()


TheOwner = Annotated[Account, Depends(owner_of)]
TheSandbox = Annotated[E2bSandbox, Depends(sandbox_of)]
