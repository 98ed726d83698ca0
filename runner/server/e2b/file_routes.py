"""E2B's files over HTTP, and whether a sandbox is there."""

from fastapi import APIRouter, Request
from starlette.responses import Response

from runner.server.e2b.access import SANDBOX_ID, TheSandboxes
from runner.server.e2b.forms import SandboxGone, answering, as_json

router = APIRouter(prefix="/e2b", include_in_schema=False, route_class=answering(as_json))


@router.get("/health")
async def health(request: Request, sandboxes: TheSandboxes) -> Response:
    """Say whether the sandbox runs."""
    sandbox_id = request.headers.get(SANDBOX_ID, "")
    if not sandboxes.is_running(sandbox_id):
        raise SandboxGone(sandbox_id)
    return Response(status_code=204)
