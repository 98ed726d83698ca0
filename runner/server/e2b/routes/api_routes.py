"""E2B's API: sandboxes made, listed, connected to, paused, forked and ended."""

import time
from datetime import UTC, datetime
from urllib.parse import parse_qsl, unquote

from fastapi import APIRouter, Request
from starlette.responses import Response

from runner.errors import RequestError
from runner.server.accounts import Account
from runner.server.e2b.access import TheOwner, TheSandboxes, TheSnapshots
from runner.server.e2b.files import used_bytes
from runner.server.e2b.forms import NotDone, answer, answering, as_json
from runner.server.e2b.requests import (
    NO_MEMORYLESS,
    NO_NETWORK,
    Connect,
    Fork,
    NewSandbox,
    Pause,
    Snapshot,
    Timeout,
    read,
)
from runner.server.e2b.sandboxes import NO_TEMPLATE, TEMPLATES, E2bSandbox, Wanted
from runner.server.e2b.snapshots import Snapshots
from runner.server.http.replies import json_reply
from runner.server.routes.access import TheServices
from runner.server.services import Services
from runner.transcript import compact
from sandbox import CopyRefused

ENVD_VERSION = "0.6.4"
"""What the services of a sandbox are those of."""
PAGE = 100
MIB = 1024 * 1024
router = APIRouter(prefix="/e2b", include_in_schema=False, route_class=answering(as_json))


@router.post("/v2/sandboxes")
@router.post("/sandboxes")
async def create(
    request: Request,
    services: TheServices,
    account: TheOwner,
    sandboxes: TheSandboxes,
    snapshots: TheSnapshots,
) -> Response:
    """Make a sandbox, new or from a snapshot."""
    wanted = (await read(NewSandbox, request)).wanted(_network(services))

    async def make() -> Response:
        with account.request():
            if wanted.template in TEMPLATES:
                made = await sandboxes.create(account, wanted)
            else:
                made = await _from_snapshot(snapshots, account, wanted)
        return json_reply(_opened(made), 201)

    return answer(request, services.streams, as_json, make)


@router.get("/v2/sandboxes")
async def list_page(
    services: TheServices,
    account: TheOwner,
    sandboxes: TheSandboxes,
    metadata: str = "",
    state: str = "",
    template: str = "",
    startedAfter: str = "",
    order: str = "desc",
    nextToken: str = "",
    limit: int = PAGE,
) -> Response:
    """List the key's sandboxes, the newest first, a page at a time."""
    if not 1 <= limit <= PAGE:
        raise RequestError("invalid", f"limit: from 1 to {PAGE}.")
    if order not in ("asc", "desc"):
        raise RequestError("invalid", "order: asc or desc.")
    # Ids sort by the time at which they were made.
    found = sorted(sandboxes.of(account.owner), key=lambda one: one.id, reverse=order == "desc")
    found = [one for one in found if _matches(one, metadata, state, template, startedAfter)]
    if nextToken:
        found = [
            one
            for one in found
            if (one.id <= nextToken if order == "desc" else one.id >= nextToken)
        ]
    page, rest = found[:limit], found[limit:]
    headers = {"x-next-token": rest[0].id} if rest else {}
    data = [_listed(services, one) for one in page]
    return Response(compact(data), headers=headers, media_type="application/json")


@router.get("/sandboxes/{sandbox_id}")
async def look(
    sandbox_id: str, services: TheServices, account: TheOwner, sandboxes: TheSandboxes
) -> Response:
    """Return one sandbox."""
    found = sandboxes.find(account.owner, sandbox_id)
    more = {
        "envdAccessToken": found.token,
        "domain": None,
        "allowInternetAccess": bool(_network(services)),
        "lifecycle": {
            "onTimeout": "pause" if found.wanted.pauses else "kill",
            "autoResume": found.wanted.resumes,
        },
    }
    return json_reply({**_listed(services, found), **more})


@router.delete("/sandboxes/{sandbox_id}")
async def kill(sandbox_id: str, account: TheOwner, sandboxes: TheSandboxes) -> Response:
    """End a sandbox with everything in it."""
    await sandboxes.end(sandboxes.find(account.owner, sandbox_id))
    return Response(status_code=204)


@router.post("/sandboxes/{sandbox_id}/timeout")
async def set_timeout(
    sandbox_id: str, request: Request, account: TheOwner, sandboxes: TheSandboxes
) -> Response:
    """Let a sandbox end so many seconds from now."""
    found = sandboxes.find(account.owner, sandbox_id)
    asked = await read(Timeout, request)
    if found.is_paused:
        raise RequestError("conflict", f"Sandbox {found.id} is paused: connect to it first.")
    sandboxes.set_timeout(found, asked.timeout)
    return Response(status_code=204)


@router.post("/v2/sandboxes/{sandbox_id}/connect")
@router.post("/sandboxes/{sandbox_id}/connect")
async def connect(
    sandbox_id: str, request: Request, account: TheOwner, sandboxes: TheSandboxes
) -> Response:
    """Connect to a sandbox; one that is paused goes on."""
    found = sandboxes.find(account.owner, sandbox_id)
    asked = await read(Connect, request)
    if asked.memory is False:
        raise NotDone(NO_MEMORYLESS)
    was_paused = found.is_paused
    sandboxes.resume(found, asked.timeout)
    return json_reply(_opened(found), 201 if was_paused else 200)


@router.post("/sandboxes/{sandbox_id}/pause")
async def pause(
    sandbox_id: str, request: Request, account: TheOwner, sandboxes: TheSandboxes
) -> Response:
    """Pause a sandbox: it keeps everything, and answers nothing until it is connected to."""
    found = sandboxes.find(account.owner, sandbox_id)
    asked = await read(Pause, request)
    if asked.memory is False:
        raise NotDone(NO_MEMORYLESS)
    if found.is_paused:
        raise RequestError("conflict", f"Sandbox {found.id} is paused already.")
    sandboxes.pause(found)
    return Response(status_code=204)


@router.post("/sandboxes/{sandbox_id}/fork")
async def fork(
    sandbox_id: str,
    request: Request,
    services: TheServices,
    account: TheOwner,
    sandboxes: TheSandboxes,
) -> Response:
    """Make sandboxes that go on from this one, with its variables and files."""
    found = sandboxes.find(account.owner, sandbox_id)
    asked = await read(Fork, request)

    async def make() -> Response:
        with account.request():
            try:
                forks = await sandboxes.fork(found, asked.count, asked.timeout)
            except CopyRefused as error:
                raise RequestError("copy_refused", str(error)) from error
        data = compact([{"sandbox": _opened(one)} for one in forks])
        return Response(data, 201, media_type="application/json")

    return answer(request, services.streams, as_json, make)


@router.post("/sandboxes/{sandbox_id}/snapshots")
async def take_snapshot(
    sandbox_id: str,
    request: Request,
    services: TheServices,
    account: TheOwner,
    sandboxes: TheSandboxes,
    snapshots: TheSnapshots,
) -> Response:
    """Keep a sandbox as it is, for new ones to begin from."""
    found = sandboxes.find(account.owner, sandbox_id)
    asked = await read(Snapshot, request)
    if asked.memory is False:
        raise NotDone(NO_MEMORYLESS)

    async def make() -> Response:
        with account.request():
            try:
                made = await snapshots.take(found, asked.name or "")
            except CopyRefused as error:
                raise RequestError("copy_refused", str(error)) from error
        return json_reply(made.json(), 201)

    return answer(request, services.streams, as_json, make)


@router.get("/snapshots")
async def list_snapshots(
    account: TheOwner,
    snapshots: TheSnapshots,
    sandboxID: str = "",
    name: str = "",
    limit: int = PAGE,
    nextToken: str = "",
) -> Response:
    """List the key's snapshots, a page at a time."""
    if not 1 <= limit <= PAGE:
        raise RequestError("invalid", f"limit: from 1 to {PAGE}.")
    found = [
        one
        for one in snapshots.of(account.owner)
        if sandboxID in ("", one.source.id)
        and name in ("", one.name, one.id)
        and one.id >= nextToken
    ]
    headers = {"x-next-token": found[limit].id} if len(found) > limit else {}
    data = [one.json() for one in found[:limit]]
    return Response(compact(data), headers=headers, media_type="application/json")


@router.delete("/templates/{template_id:path}")
async def delete_snapshot(template_id: str, account: TheOwner, snapshots: TheSnapshots) -> Response:
    """Forget a snapshot."""
    await snapshots.remove(snapshots.find(account.owner, template_id))
    return Response(status_code=204)


@router.get("/sandboxes/{sandbox_id}/metrics")
async def metrics(
    sandbox_id: str,
    services: TheServices,
    account: TheOwner,
    sandboxes: TheSandboxes,
    start: int = 0,
    end: int | None = None,
) -> Response:
    """Return what the sandbox uses now: one sample, as nothing is kept of the past."""
    found = sandboxes.find(account.owner, sandbox_id)
    now, limits = time.time(), services.box.policy.limits
    if int(now) < start or (end is not None and end < int(now)):
        return Response("[]", media_type="application/json")
    totals = services.observer.totals(found.held.id)
    sample = {
        "timestamp": _time(now),
        "timestampUnix": int(now),
        "cpuCount": 1,
        "cpuUsedPct": round(100 * totals.cpu_s / max(now - found.started_at, 0.001), 3),
        "memUsed": totals.peak_memory_bytes,
        "memTotal": limits.memory_bytes,
        "memCache": 0,
        "diskUsed": await used_bytes(found.held.session),
        "diskTotal": limits.workspace_bytes,
    }
    return Response(compact([sample]), media_type="application/json")


@router.put("/sandboxes/{sandbox_id}/network")
async def change_network(
    sandbox_id: str, services: TheServices, account: TheOwner, sandboxes: TheSandboxes
) -> Response:
    """Refuse to change the network of one sandbox."""
    sandboxes.find(account.owner, sandbox_id)
    policy = _network(services) or "no network"
    raise NotDone(NO_NETWORK.format(policy=policy, field="update_network()"))


async def _from_snapshot(snapshots: Snapshots, account: Account, wanted: Wanted) -> E2bSandbox:
    try:
        return await snapshots.begin(account, wanted)
    except CopyRefused as error:
        raise RequestError("copy_refused", str(error)) from error
    except RequestError as error:
        if error.fault != "not_found":
            raise
        raise NotDone(NO_TEMPLATE.format(name=wanted.template[:100])) from None


def _opened(sandbox: E2bSandbox) -> dict[str, object]:
    """What a client needs to talk to a sandbox."""
    return {
        "templateID": sandbox.wanted.template,
        "sandboxID": sandbox.id,
        "clientID": sandbox.held.id,
        "envdVersion": ENVD_VERSION,
        "envdAccessToken": sandbox.token,
        "trafficAccessToken": sandbox.traffic_token,
        "domain": None,
    }


def _listed(services: Services, sandbox: E2bSandbox) -> dict[str, object]:
    limits, server = services.box.policy.limits, services.config.server
    # An idle session of this server ends before the sandbox's own time does.
    idle_s = time.monotonic() - sandbox.held.active_at
    idle_end = time.time() - idle_s + server.idle_minutes * 60
    end = idle_end if sandbox.is_paused else min(sandbox.end_at, idle_end)
    return {
        "templateID": sandbox.wanted.template,
        "alias": sandbox.wanted.template,
        "sandboxID": sandbox.id,
        "clientID": sandbox.held.id,
        "startedAt": _time(sandbox.started_at),
        "endAt": _time(end),
        "state": "paused" if sandbox.is_paused else "running",
        "cpuCount": 1,
        "memoryMB": limits.memory_bytes // MIB,
        "diskSizeMB": limits.workspace_bytes // MIB,
        "envdVersion": ENVD_VERSION,
        "metadata": dict(sandbox.wanted.metadata),
        "volumeMounts": [],
    }


def _matches(one: E2bSandbox, metadata: str, state: str, template: str, after: str) -> bool:
    wanted = {unquote(name): unquote(value) for name, value in parse_qsl(metadata)}
    if any(one.wanted.metadata.get(name) != value for name, value in wanted.items()):
        return False
    if state and ("paused" if one.is_paused else "running") not in state.split(","):
        return False
    if template and one.wanted.template != template:
        return False
    if not after:
        return True
    try:
        earliest = datetime.fromisoformat(after)
        # As it is told, and at that time counts: a client sends what it was told.
        return datetime.fromtimestamp(one.started_at, UTC) >= earliest.astimezone(UTC)
    except ValueError:
        raise RequestError("invalid", "startedAfter: is no time.") from None


def _network(services: Services) -> str:
    allowed = services.box.policy.network
    return "" if allowed == "none" else ", ".join(allowed)


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")
