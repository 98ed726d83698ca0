"""`/api`: kernels and sessions as Jupyter's clients make, find and end them.

Source: jupyter_server 2.21's REST API; a kernel gateway is its part that is about kernels.
"""

from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import JSONResponse, Response

from runner.errors import RequestError
from runner.server.accounts import Account
from runner.server.http.bodies import read_body
from runner.server.http.replies import json_reply
from runner.server.jupyter.access import TheKernels, TheOwner
from runner.server.jupyter.kernels import (
    NAME_CHARS,
    SPECS,
    Kernel,
    Kernels,
    notebook_of,
    spec,
    specs,
)

BODY_BYTES = 64 * 1024
API_VERSION = "2.0.0"
"""Of Jupyter's REST API: what its clients look at to know which routes there are."""
router = APIRouter(prefix="/api", include_in_schema=False)


@router.get("")
async def version() -> Response:
    """Say which API this is; it needs no key, as with the original."""
    return json_reply({"version": API_VERSION})


@router.get("/kernelspecs")
async def list_specs(_account: TheOwner) -> Response:
    """List the kernels that can be started."""
    return json_reply(specs())


@router.get("/kernelspecs/{name}")
async def get_spec(name: str, _account: TheOwner) -> Response:
    """Return one of them."""
    if name not in SPECS:
        raise RequestError("not_found", f"There is no kernel {name[:100]!r}.")
    return json_reply(spec(name))


@router.get("/kernels")
async def list_kernels(kernels: TheKernels, account: TheOwner) -> Response:
    """List the key's kernels."""
    return JSONResponse([kernel.json() for kernel in kernels.of(account.owner)])


@router.post("/kernels")
async def start_kernel(request: Request, kernels: TheKernels, account: TheOwner) -> Response:
    """Start a kernel; a body may name which."""
    wanted = notebook_of(await read_body(request, BODY_BYTES))
    with account.request():
        kernel = await kernels.start(account, _text(wanted, "name") or SPECS[0])
    headers = {"location": f"/api/kernels/{kernel.id}"}
    return json_reply(kernel.json(), 201, headers)


@router.get("/kernels/{kernel_id}")
async def get_kernel(kernel_id: str, kernels: TheKernels, account: TheOwner) -> Response:
    """Return one kernel."""
    return json_reply(kernels.find(account.owner, kernel_id).json())


@router.delete("/kernels/{kernel_id}")
async def end_kernel(kernel_id: str, kernels: TheKernels, account: TheOwner) -> Response:
    """End a kernel with everything in it."""
    await kernels.end(kernels.find(account.owner, kernel_id))
    return Response(status_code=204)


@router.post("/kernels/{kernel_id}/interrupt")
async def interrupt_kernel(kernel_id: str, kernels: TheKernels, account: TheOwner) -> Response:
    """End the cell that runs now."""
    kernels.find(account.owner, kernel_id).loop.interrupt()
    return Response(status_code=204)


@router.post("/kernels/{kernel_id}/restart")
async def restart_kernel(kernel_id: str, kernels: TheKernels, account: TheOwner) -> Response:
    """Go on with a fresh session."""
    kernel = kernels.find(account.owner, kernel_id)
    with account.request():
        await kernel.restart()
    return json_reply(kernel.json())


# ---- sessions: a kernel, and what it is for ------------------------------------------------------


@router.get("/sessions")
async def list_sessions(kernels: TheKernels, account: TheOwner) -> Response:
    """List the notebooks that have a kernel."""
    found = [kernel for kernel in kernels.of(account.owner) if kernel.notebook]
    return JSONResponse([_session(kernel) for kernel in found])


@router.post("/sessions")
async def start_session(request: Request, kernels: TheKernels, account: TheOwner) -> Response:
    """Start a kernel for a notebook; one that has a kernel goes on with it."""
    wanted = notebook_of(await read_body(request, BODY_BYTES))
    path, name, kind = (_text(wanted, field) for field in ("path", "name", "type"))
    for kernel in kernels.of(account.owner):
        if path and kernel.notebook.get("path") == path:
            return json_reply(_session(kernel), 201)
    asked = wanted.get("kernel")
    asked = asked if isinstance(asked, dict) else {}
    if kernel_id := _text(asked, "id"):
        kernel = kernels.find(account.owner, kernel_id)
    else:
        with account.request():
            kernel = await kernels.start(account, _text(asked, "name") or SPECS[0])
    kernel.notebook = {"path": path, "name": name, "type": kind or "notebook"}
    return json_reply(_session(kernel), 201)


@router.get("/sessions/{session_id}")
async def get_session(session_id: str, kernels: TheKernels, account: TheOwner) -> Response:
    """Return one notebook's."""
    return json_reply(_session(_of_session(session_id, kernels, account)))


@router.delete("/sessions/{session_id}")
async def end_session(session_id: str, kernels: TheKernels, account: TheOwner) -> Response:
    """End a notebook's kernel."""
    await kernels.end(_of_session(session_id, kernels, account))
    return Response(status_code=204)


def _of_session(session_id: str, kernels: Kernels, account: Account) -> Kernel:
    kernel = kernels.find(account.owner, session_id)
    if not kernel.notebook:
        raise RequestError("not_found", f"There is no session {session_id[:100]!r}.")
    return kernel


def _session(kernel: Kernel) -> dict[str, object]:
    # A notebook has one kernel and a kernel one notebook, so one id names both.
    return {"id": kernel.id, **kernel.notebook, "kernel": kernel.json()}


def _text(fields: dict[str, Any], name: str) -> str:
    value = fields.get(name)
    if value is None:
        return ""
    if not isinstance(value, str) or len(value) > NAME_CHARS:
        message = f"{name}: it has to be a text of at most {NAME_CHARS} characters."
        raise RequestError("invalid", message, param=name)
    return value
