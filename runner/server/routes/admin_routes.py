"""Doors for the operator: every key's live sessions, and an end to one. Only for admin keys.

A cookie of the page is no admin key: what a browser does by itself must not end sessions.
"""

import time
from typing import Annotated

from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from runner.errors import RequestError
from runner.server.accounts import Account
from runner.server.http.replies import json_reply
from runner.server.routes.access import TheServices, account_of
from runner.server.services import Services
from sandbox import SessionError

router = APIRouter(prefix="/admin", include_in_schema=False)


async def admin_of(request: Request, account: Annotated[Account, Depends(account_of)]) -> Account:
    """The operator behind the request. Raises RequestError."""
    if not account.settings.admin or not request.headers.get("authorization"):
        raise RequestError("forbidden", "This needs a key with `admin = true` in [[keys]].")
    return account


TheAdmin = Annotated[Account, Depends(admin_of)]


@router.get("/sessions")
async def list_sessions(services: TheServices, _admin: TheAdmin) -> Response:
    """Live sessions of all keys, and how full the server is."""
    sessions = _sessions(services)
    tenants: dict[str, dict[str, float]] = {}
    for one in sessions:
        of = tenants.setdefault(str(one["owner"]), {"sessions": 0, "runs": 0, "cpu_s": 0.0})
        of["sessions"] += 1
        of["runs"] += int(str(one["runs"]))
        of["cpu_s"] += float(str(one["cpu_s"]))
    slots = services.slots
    return json_reply(
        {
            "object": "list",
            "data": sessions,
            "held": slots.held,
            "most": slots.most,
            "waiting": slots.waiting,
            "tenants": tenants,
        }
    )


@router.get("/sessions/{session_id}")
async def inspect_session(session_id: str, services: TheServices, _admin: TheAdmin) -> Response:
    """One session, with the layers that hold for it; never what is in it."""
    return json_reply(_found(services, session_id))


@router.delete("/sessions/{session_id}")
async def kill_session(session_id: str, services: TheServices, admin: TheAdmin) -> Response:
    """End a session with its code; a container's next snippet starts in a new one."""
    _found(services, session_id)
    services.observer.ended_by_operator(owner=admin.owner, where=session_id)
    held = services.sessions.any(session_id)
    if held is not None:
        await services.sessions.end(held)
    else:
        await services.containers.end_session(session_id)
    return json_reply({"id": session_id, "object": "session.killed", "killed": True})


def _found(services: Services, session_id: str) -> dict[str, object]:
    for one in _sessions(services):
        if one["id"] == session_id:
            return one
    raise RequestError("not_found", f"Session with id '{session_id[:100]}' not found.")


def _sessions(services: Services) -> list[dict[str, object]]:
    now, found = time.monotonic(), []
    for held in services.sessions.all():
        try:
            layers = list(held.session.enforcement)
        except SessionError:
            continue  # It has ended, and is forgotten when it is asked for.
        idle_s = 0.0 if held.running else now - held.active_at
        found.append(_one(services, held.id, held.owner, "session", held.running, idle_s, layers))
    for container_id, live in services.containers.live():
        if (session := live.session) is None:
            continue
        idle_s = 0.0 if live.holders else now - live.active_at
        layers = list(session.enforcement)
        found.append(
            _one(services, container_id, live.row.owner, "container", live.holders, idle_s, layers)
        )
    return found


def _one(
    services: Services,
    session_id: str,
    owner: str,
    kind: str,
    requests: int,
    idle_s: float,
    layers: list[str],
) -> dict[str, object]:
    totals = services.observer.totals(session_id)
    return {
        "id": session_id,
        "object": "admin.session",
        "owner": owner,
        "kind": kind,
        "requests": requests,
        "idle_s": round(idle_s, 3),
        "runs": totals.runs,
        "cpu_s": round(totals.cpu_s, 3),
        "peak_memory_bytes": totals.peak_memory_bytes,
        "last_status": totals.last_status,
        "layers": layers,
    }
