"""Access: the key as LibreChat sends it."""

from typing import Annotated

from fastapi import Depends, Request

from runner.errors import ServerStopping
from runner.server.accounts import Account
from runner.server.routes.access import TheServices

API_KEY = "x-api-key"


async def owner_of(request: Request, services: TheServices) -> Account:
    """Whose key came, in `X-API-Key` or as a bearer's; it counts from now.

    Raises RequestError, ServerStopping.
    """
    shown = request.headers.get("authorization", "")
    if API_KEY in request.headers:
        shown = f"Bearer {request.headers[API_KEY]}"
    account = services.accounts.find(shown)
    request.scope["state"]["owner"] = account.owner
    if services.streams.is_stopping:
        raise ServerStopping
    account.charge()
    return account


TheOwner = Annotated[Account, Depends(owner_of)]
