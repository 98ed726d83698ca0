"""The page at `/`: its files, how a browser signs in, and what only the page needs."""

import json
import secrets
from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from runner.dialects.fields import Fields
from runner.errors import RequestError
from runner.page.assets import assets, document
from runner.server.http.bodies import read_json
from runner.server.http.replies import json_reply
from runner.server.live.branching import branch_conversation
from runner.server.page_access import check_own_page, cookie_name
from runner.server.routes.access import TheAccount, TheServices
from runner.server.routes.conversation_routes import conversation_json

NONCE_BYTES = 16
SIGN_IN_BYTES = 4096
BRANCHES_MOST = 4
A_YEAR_S = 365 * 24 * 3600
POLICY = (
    "default-src 'none'",
    "script-src 'self'",
    # What a snippet shows as HTML stands in a frame of its own, with this nonce on its styles.
    "style-src 'self' 'nonce-{nonce}'",
    "img-src 'self' data: blob:",
    "connect-src 'self'",
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
    # Text becomes markup in one place alone: the frame of what a snippet shows.
    "require-trusted-types-for 'script'",
    "trusted-types guest-frame",
)
HEADERS = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "x-frame-options": "DENY",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}
router = APIRouter(include_in_schema=False)


# ---- files --------------------------------------------------------------------------------------


@router.get("/")
async def get_page() -> Response:
    """The page itself. It holds no secret: what it shows it asks for once it is signed in."""
    nonce = secrets.token_urlsafe(NONCE_BYTES)
    policy = "; ".join(POLICY).format(nonce=nonce)
    headers = {**HEADERS, "cache-control": "no-store", "content-security-policy": policy}
    return Response(document(nonce), headers=headers, media_type="text/html; charset=utf-8")


@router.get("/page/assets/{name}")
async def get_asset(name: str, request: Request, v: str = "") -> Response:
    """A script, a style sheet or the list of licences; under its hash it may be kept for good."""
    asset = assets().get(name)
    if asset is None:
        raise RequestError("not_found", f"There is no asset {name[:100]!r}.")
    caching = f"max-age={A_YEAR_S}, immutable" if v == asset.hash else "no-cache"
    etag = f'"{asset.hash}"'
    headers = {**HEADERS, "cache-control": caching, "etag": etag, "vary": "accept-encoding"}
    if request.headers.get("if-none-match") == etag:
        return Response(status_code=304, headers=headers)
    if "gzip" in request.headers.get("accept-encoding", ""):
        headers["content-encoding"] = "gzip"
        return Response(asset.compressed, headers=headers, media_type=asset.mime)
    return Response(asset.content, headers=headers, media_type=asset.mime)


# ---- signing in ---------------------------------------------------------------------------------


@router.post("/page/session")
async def sign_in(request: Request, services: TheServices) -> Response:
    """Exchange the token of the printed link, or the key, for a cookie."""
    check_own_page(request)
    body = Fields(await read_json(request, SIGN_IN_BYTES))
    if token := body.text("token"):
        account = services.page.redeem(token)
    else:
        account = services.accounts.find(f"Bearer {body.text('key') or ''}")
    response = json_reply({"object": "page.session", "owner": account.owner})
    services.page.sign_in(request, response, account)
    return response


@router.delete("/page/session")
async def sign_out(request: Request, _account: TheAccount) -> Response:
    """Take the cookie back."""
    response = json_reply({"object": "page.session.deleted", "deleted": True})
    response.delete_cookie(cookie_name(request), path="/", httponly=True, samesite="strict")
    return response


@router.get("/page/session")
async def get_session(services: TheServices, account: TheAccount) -> Response:
    """What the page has to know of the server: models, limits, and what code may do."""
    policy, server = services.box.policy, services.config.server
    return json_reply(
        {
            "object": "page.session",
            "owner": account.owner,
            "has_model": not services.directory.is_empty,
            "models": list(services.directory.names),
            "tier": policy.tier,
            "network": policy.network,
            "limits": policy.limits.model_dump(mode="json"),
            "file_bytes": server.file_bytes,
            "idle_minutes": server.idle_minutes,
        }
    )


# ---- conversations ------------------------------------------------------------------------------


@router.get("/page/conversations")
async def list_conversations(
    services: TheServices,
    account: TheAccount,
    limit: Annotated[int, Query(ge=1, le=500)] = 200,
) -> Response:
    """The key's conversations that the page began, newest first."""
    rows = await services.conversations.newest(account.owner, limit=limit)
    found = [conversation_json(row) for row in rows if "page" in json.loads(row.metadata)]
    return json_reply({"object": "list", "data": found})


@router.post("/page/conversations/{conversation_id}/branches")
async def create_branches(
    conversation_id: str, request: Request, services: TheServices, account: TheAccount
) -> Response:
    """Copies of a conversation that go on by themselves, with variables and files of their own."""
    row = await services.conversations.find(account.owner, conversation_id)
    body = Fields(await read_json(request, SIGN_IN_BYTES))
    count = body.whole("count", least=1, most=BRANCHES_MOST) or 1
    branches = await branch_conversation(
        services.conversations, services.containers, account, row, count=count
    )
    data = [conversation_json(branch) for branch in branches]
    return json_reply({"object": "list", "data": data}, headers=account.headers())
