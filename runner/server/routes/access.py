"""Access: the services and the account behind a request, for every route."""

from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from runner.errors import ServerStopping
from runner.server.accounts import Account
from runner.server.services import Services

BEARER = HTTPBearer(auto_error=False, description="A key of the server's owner.")


# Coroutines, though they wait for nothing: plain functions would each cost a hop to a thread.


async def services_of(request: Request) -> Services:
    """Return the services of the app that serves `request`."""
    services = request.app.state.services
    assert isinstance(services, Services)
    return services


async def caller_of(
    request: Request,
    services: Annotated[Services, Depends(services_of)],
    _shown: Annotated[HTTPAuthorizationCredentials | None, Depends(BEARER)],
) -> Account:
    """Whose key came with the request. Raises RequestError, ServerStopping."""
    authorization = request.headers.get("authorization", "")
    if authorization:
        account = services.accounts.find(authorization)
    else:
        account = services.page.account_of(request)
    request.scope["state"]["owner"] = account.owner
    if services.streams.is_stopping:
        raise ServerStopping
    return account


async def account_of(account: Annotated[Account, Depends(caller_of)]) -> Account:
    """Whose key came with the request; it counts from now. Raises RequestError, ServerStopping."""
    account.charge()
    return account


TheServices = Annotated[Services, Depends(services_of)]
TheAccount = Annotated[Account, Depends(account_of)]
TheCaller = Annotated[Account, Depends(caller_of)]
"""For requests that are part of another, which has been counted."""
