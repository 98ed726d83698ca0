"""Accounts: which key sends a request, and how much of the server it may use at once."""

import base64
import hashlib
import hmac
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from runner.config import KeySettings
from runner.errors import RequestError

MINUTE_S = 60.0
BAD_KEY = "Incorrect API key provided."
BEARER = "Authorization: Bearer KEY"
NO_KEY = (
    "No API key was provided. Send it as `{header}`: `cellblock key` prints it on the server's"
    " machine, unless the owner named keys in the config."
)


class Account:
    """One key's owner with its allowances, and what it uses just now."""

    def __init__(
        self, settings: KeySettings, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.settings = settings
        self.owner = settings.tenant
        self._clock = clock
        self._open = 0
        # A bucket that fills evenly: a burst may use a whole minute's worth.
        self._left = float(settings.requests_per_minute)
        self._filled_at = clock()

    @property
    def open_requests(self) -> int:
        """How many requests of the key are being answered."""
        return self._open

    def charge(self) -> None:
        """Count a request against the rate. Raises RequestError when it comes too early."""
        self._fill()
        if self._left < 1:
            rate = self.settings.requests_per_minute
            wait_s = (1 - self._left) * MINUTE_S / rate
            message = f"This key may send {rate} requests a minute."
            raise RequestError("rate", message, retry_after_s=wait_s)
        self._left -= 1

    @contextmanager
    def request(self) -> Iterator[None]:
        """Return a place among the key's open requests. Raises RequestError when there is none."""
        if self._open >= self.settings.concurrent_requests:
            most = self.settings.concurrent_requests
            message = f"This key may have {most} requests open at once."
            raise RequestError("concurrency", message, retry_after_s=1.0)
        self._open += 1
        try:
            yield
        finally:
            self._open -= 1

    def headers(self) -> dict[str, str]:
        """Return what is left of the rate, as the clients read it."""
        self._fill()
        rate = self.settings.requests_per_minute
        wait_s = max(rate - self._left, 0) * MINUTE_S / rate
        return {
            "x-ratelimit-limit-requests": str(rate),
            "x-ratelimit-remaining-requests": str(int(self._left)),
            "x-ratelimit-reset-requests": f"{wait_s:.3f}s",
        }

    def _fill(self) -> None:
        now, rate = self._clock(), self.settings.requests_per_minute
        self._left = min(rate, self._left + (now - self._filled_at) * rate / MINUTE_S)
        self._filled_at = now


class Accounts:
    """All keys. Every one is compared in constant time, so a reply tells nothing about them."""

    def __init__(self, settings: Sequence[KeySettings]) -> None:
        self._accounts = [(_digest(one.secret), Account(one)) for one in settings if one.secret]

    @property
    def is_empty(self) -> bool:
        return not self._accounts

    @property
    def signers(self) -> Sequence[tuple[bytes, Account]]:
        """Each account with what is kept of its key, to sign with."""
        return self._accounts

    def find(self, authorization: str, *, header: str = BEARER) -> Account:
        """Return the account of a header `Authorization: Bearer <key>`. Raises RequestError.

        `Basic` with the key as password counts too: some clients can send it in no other way.
        `header` is how the client should have sent it.
        """
        scheme, _, key = authorization.strip().partition(" ")
        kind = scheme.lower()
        if kind == "basic":
            key = _password(key)
        sent = _digest(key.strip() if kind in ("bearer", "basic") else "")
        found: Account | None = None
        for digest, account in self._accounts:
            if hmac.compare_digest(digest, sent):
                found = account
        if found is None:
            raise no_key(header) if not key.strip() else RequestError("key", BAD_KEY)
        return found


def no_key(header: str = BEARER) -> RequestError:
    """The error of a request that came without a key, which goes into `header`."""
    return RequestError("key_missing", NO_KEY.format(header=header))


def _password(credentials: str) -> str:
    """Return the password of an `Authorization: Basic` header; empty if it holds none."""
    try:
        pair = base64.b64decode(credentials.strip(), validate=True).decode()
    except ValueError:  # No Base64, no ASCII, no UTF-8.
        return ""
    return pair.partition(":")[2]


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()
