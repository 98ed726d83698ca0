"""Access: the key as clients of Jupyter send it, with requests and with sockets."""

from typing import Annotated

from fastapi import Depends
from starlette.requests import HTTPConnection

from runner.errors import ServerStopping
from runner.server.accounts import Account
from runner.server.jupyter.kernels import Kernels
from runner.server.services import Services


async def account_of(connection: HTTPConnection) -> Account:
    """Whose token came, in the query or in a header `Authorization: token KEY`; it counts.

    A cookie vouches for nothing here. Raises RequestError, ServerStopping.
    """
    services = connection.app.state.services
    assert isinstance(services, Services)
    shown = connection.headers.get("authorization", "")
    scheme, _, key = shown.strip().partition(" ")
    if scheme.lower() == "token":
        shown = f"Bearer {key}"
    if not shown:
        shown = f"Bearer {connection.query_params.get('token', '')}"
    account = services.accounts.find(shown)
    connection.scope["state"]["owner"] = account.owner
    if services.streams.is_stopping:
        raise ServerStopping
    account.charge()
    return account


async def kernels_of(connection: HTTPConnection) -> Kernels:
    """The kernels of the app that serves `connection`."""
    found = connection.app.state.kernels
    assert isinstance(found, Kernels)
    return found


TheOwner = Annotated[Account, Depends(account_of)]
TheKernels = Annotated[Kernels, Depends(kernels_of)]
