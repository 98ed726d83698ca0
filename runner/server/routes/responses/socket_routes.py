"""The WebSocket of the Responses API: its door."""

from fastapi import APIRouter, WebSocket

from runner.errors import RequestError, ServerStopping
from runner.server.accounts import no_key
from runner.server.routes.paths import BASES
from runner.server.routes.responses.response_socket import ResponseSocket
from runner.server.services import Services
from runner.server.websockets import refuse

router = APIRouter()


async def open_socket(websocket: WebSocket) -> None:
    """Answer `response.create` messages on one connection, by a key in its first request.

    No cookie opens it: a browser would send one for a page of anyone's.
    """
    services: Services = websocket.app.state.services
    try:
        authorization = websocket.headers.get("authorization", "")
        if not authorization:
            raise no_key()
        account = services.accounts.find(authorization)
        websocket.scope["state"]["owner"] = account.owner
        if services.streams.is_stopping:
            raise ServerStopping
        account.charge()
    except (RequestError, ServerStopping) as error:
        status = await refuse(websocket.scope, websocket.receive, websocket.send, error)
        websocket.scope["state"]["status"] = status
        return
    await websocket.accept()
    await ResponseSocket(websocket, services, account).serve()


for _base in BASES:
    router.add_api_websocket_route(f"{_base}/responses", open_socket)
