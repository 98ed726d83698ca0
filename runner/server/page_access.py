"""Page access: how a browser gets in without holding the key.

The terminal shows a link with a token that is good once. The page sends it and gets a cookie that
its scripts cannot read. The cookie is signed with what is kept of a key: it outlives a restart
of the server while the key does, and ends with it. A request that a cookie vouches for has to
come from the page itself: other sites are known by `Origin` and `Sec-Fetch-Site`, and what
changes anything carries a header that no other site may send.
"""

import base64
import hashlib
import hmac
import secrets
import time
from collections.abc import Callable
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.responses import Response

from runner.errors import RequestError
from runner.server.accounts import BAD_KEY, Account, Accounts, no_key

TOKEN_BYTES = 24
TOKEN_S = 3600
"""How long the link in the terminal is good."""
COOKIE_S = 14 * 24 * 3600
PAGE_HEADER = "x-cellblock-page"
"""A header that a page of another origin cannot send without asking, and asking is refused."""
SAFE_METHODS = ("GET", "HEAD")
OWN_SITES = ("same-origin", "none")
"""`none`: the user typed the address or followed a bookmark."""
PURPOSE = b"cellblock page cookie"
USED_UP = "This link was used or is too old. Take the one that the server printed last, or the key."
ELSEWHERE = "The request did not come from the page of this server."


class PageAccess:
    """Tokens that are good once, and the cookies that they are exchanged for."""

    def __init__(self, accounts: Accounts, *, clock: Callable[[], float] = time.time) -> None:
        self._accounts = accounts
        self._clock = clock
        self._tokens: dict[bytes, float] = {}

    def make_token(self) -> str:
        """A new token for the first key's owner; only its hash is kept here."""
        token = secrets.token_urlsafe(TOKEN_BYTES)
        self._tokens[_hash(token)] = self._clock() + TOKEN_S
        return token

    def redeem(self, token: str) -> Account:
        """The account that `token` opens, once. Raises RequestError."""
        ends_at = self._tokens.pop(_hash(token), 0.0)
        signers = self._accounts.signers
        if ends_at <= self._clock() or not signers:
            raise RequestError("key", USED_UP)
        return signers[0][1]

    def sign_in(self, request: Request, response: Response, account: Account) -> None:
        """Give the browser a cookie that vouches for `account`."""
        response.set_cookie(
            cookie_name(request),
            self.cookie(account),
            max_age=COOKIE_S,
            path="/",
            httponly=True,
            secure=request.url.scheme == "https",
            samesite="strict",
        )

    def cookie(self, account: Account) -> str:
        """The value of a cookie for `account`."""
        secret = next(digest for digest, one in self._accounts.signers if one is account)
        body = f"{int(self._clock()) + COOKIE_S}.{secrets.token_urlsafe(8)}"
        return f"{body}.{_signature(secret, body)}"

    def account_of(self, request: Request) -> Account:
        """The account that the request's cookie vouches for. Raises RequestError."""
        value = request.cookies.get(cookie_name(request), "")
        account = self._of_cookie(value)
        if account is None:
            raise RequestError("key", BAD_KEY) if value else no_key()
        check_own_page(request)
        return account

    def _of_cookie(self, value: str) -> Account | None:
        body, _, signature = value.rpartition(".")
        ends_at = body.partition(".")[0]
        found: Account | None = None
        for secret, account in self._accounts.signers:
            if hmac.compare_digest(_signature(secret, body).encode(), signature.encode()):
                found = account
        is_good = ends_at.isdecimal() and len(ends_at) < 20 and int(ends_at) > self._clock()
        return found if is_good else None


def check_own_page(request: Request) -> None:
    """Refuse what another site made the browser send. Raises RequestError."""
    origin = request.headers.get("origin")
    site = request.headers.get("sec-fetch-site", "none")
    is_own = origin is None or urlsplit(origin).netloc == request.headers.get("host")
    is_marked = request.method in SAFE_METHODS or request.headers.get(PAGE_HEADER) == "1"
    if not (is_own and site in OWN_SITES and is_marked):
        raise RequestError("forbidden", ELSEWHERE)


def cookie_name(request: Request) -> str:
    """The cookie's name; browsers tell hosts apart but not ports, so the port is in it."""
    return f"cellblock_{request.url.port or 0}"


def _hash(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()


def _signature(secret: bytes, body: str) -> str:
    key = hmac.new(secret, PURPOSE, "sha256").digest()
    digest = hmac.new(key, body.encode("utf-8", "surrogateescape"), "sha256").digest()
    return base64.urlsafe_b64encode(digest).decode().rstrip("=")
