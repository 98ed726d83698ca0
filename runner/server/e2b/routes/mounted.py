"""All routes of E2B's protocol, and a refusal for what of it is not here."""

from fastapi import APIRouter, Request
from starlette.responses import Response

from runner.errors import RequestError
from runner.server.e2b.access import TheOwner
from runner.server.e2b.forms import answering, as_json
from runner.server.e2b.routes import (
    api_routes,
    code_routes,
    file_routes,
    filesystem_routes,
    process_routes,
)

router = APIRouter()
router.include_router(api_routes.router)
router.include_router(code_routes.router)
router.include_router(file_routes.router)
router.include_router(file_routes.signed)
for _service in (filesystem_routes, process_routes):
    router.include_router(_service.streams)
    router.include_router(_service.router)
rest = APIRouter(prefix="/e2b", include_in_schema=False, route_class=answering(as_json))


@rest.api_route("/{path:path}", methods=["GET", "POST", "PUT", "PATCH", "DELETE"])
async def missing(path: str, request: Request, _account: TheOwner) -> Response:
    """Refuse templates, volumes, secrets and all else that this server does not have."""
    message = f"{request.method} /{path[:100]}: this server has no such thing of E2B's."
    raise RequestError("not_found", message)


router.include_router(rest)
