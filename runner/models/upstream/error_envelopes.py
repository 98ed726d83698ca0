"""Errors as endpoints wrap them, in a body or inside a stream, into one UpstreamError."""

import json
import re
from collections.abc import Mapping

from pydantic import JsonValue

from runner.errors import UpstreamError, UpstreamFault
from runner.transcript import encodable

DETAIL_CHARS = 400
BODY_BYTES, PAGE_CHARS = 64 * 1024, 4096
WORD_KEYS = (
    "message", "msg", "detail", "details", "error_msg", "error_message", "errorMessage",
    "status_msg", "reason", "title", "description", "error", "errors", "text",
)  # fmt: skip
STATUS_KEYS = ("code", "status", "status_code", "statusCode", "http_status", "error_code")
KIND_KEYS = ("type", "__type", "code", "status", "error_code", "reason", "object")
KINDS: tuple[tuple[UpstreamFault, int, str], ...] = (
    ("busy", 429, r"rate.?limit|throttl|too.?many|quota|limit_requests|resource.?exhausted"),
    ("refused", 401, r"invalid.?api.?key|authenticat|unauthorized|unauthenticated"),
    ("refused", 403, r"permission|forbidden|access.?denied"),
    ("slow", 504, r"time.?d?.?out|deadline"),
    ("down", 503, r"overload|unavailable|capacity"),
    ("rejected", 400, r"bad.?request|invalid|context|exceed|not.?found|unprocessable|unsupported"),
)
RATE_WORDS = re.compile(r"\s*(?:rate.?limit|too many requests|quota exceeded)", re.IGNORECASE)
"""Words that say by themselves what kind of error it is, where numbers are the endpoint's own."""
SECRETS = re.compile(
    r"\b(?:sk|pk|rk|gsk|xai|hf|nvapi)[-_][\w*.\-]+|\bAIza[\w\-]+|\b[Bb]earer\s+\S+|\b\w{0,8}\*{4,}\w*"
)
TAGS = re.compile(r"<(?:script|style|head).*?</(?:script|style|head)>|<[^>]*>", re.DOTALL)
FINE = (0, 200, "0", "200", "ok", "OK", "success", "Success")


def status_error(
    status: int, body: bytes, headers: Mapping[str, str], *, hidden: str = ""
) -> UpstreamError:
    """The error of an answer whose status is one. `hidden` is a key that no text may show."""
    text = body[:BODY_BYTES].decode("utf-8", "replace")
    try:
        said = words_of(json.loads(text))
    except (ValueError, RecursionError):
        said = TAGS.sub(" ", text[:PAGE_CHARS])
    wait = headers.get("retry-after", "")
    detail = short(said, hidden)
    return UpstreamError(
        fault_of_status(status),
        detail or f"status {status}",
        status=status,
        retry_after_s=float(wait) if wait.isdigit() else None,
        is_said=bool(detail) and status != 401,
        answer=text,
    )


def error_in(data: JsonValue, *, is_error: bool = False, hidden: str = "") -> UpstreamError | None:
    """The error that a piece of a stream is, or None. `is_error` when its frame says so."""
    if isinstance(data, str):
        return _of_words(data, None, "", hidden) if is_error else None
    if not isinstance(data, dict):
        return None
    found = _envelope(data)
    if found is None and is_error:
        found = data
    if found is None:
        return None
    status, kind = _status_of(found), _kind_of(found)
    if found is not data:
        status = status or _status_of(data)
        kind = f"{kind} {_kind_of(data)}"
    # Beside a bare `error` there may be a longer text.
    said = words_of(data) if isinstance(found, str) else words_of(found) or words_of(data)
    error = _of_words(said, status, kind, hidden)
    error.answer = json.dumps(data)[:BODY_BYTES]
    return error


def _envelope(data: Mapping[str, JsonValue]) -> JsonValue:
    """What of `data` speaks of an error, None if nothing does."""
    error = data.get("error")
    if error and not (isinstance(error, dict) and _is_fine(error)):
        return error
    base = data.get("base_resp")
    if isinstance(base, dict) and base.get("status_code") not in (*FINE, None):
        return base
    if data.get("object") == "error" or data.get("type") == "error":
        return dict(data)
    if data.get("choices") or any(key in data for key in ("message_start", "delta")):
        return None
    for key in ("detail", "errors", "error_msg", "error_message", "errorMessage"):
        if data.get(key):
            return dict(data)
    code = data.get("code", data.get("status", data.get("__type")))
    if data.get("success") is False or data.get("ok") is False:
        code = code or 500
    if code not in (*FINE, None) and isinstance(data.get("message", data.get("msg")), str):
        return dict(data)
    return None


def _is_fine(error: Mapping[str, JsonValue]) -> bool:
    code = error.get("code", error.get("status"))
    return code in FINE and not error.get("type")


def _status_of(found: JsonValue) -> int | None:
    if not isinstance(found, Mapping):
        return None
    for key in STATUS_KEYS:
        code = found.get(key)
        if isinstance(code, str) and code.isdecimal():
            code = int(code)
        if isinstance(code, int) and not isinstance(code, bool) and 400 <= code < 600:
            return code
    return None


def _kind_of(found: JsonValue) -> str:
    if not isinstance(found, Mapping):
        return ""
    return " ".join(str(found[key]) for key in KIND_KEYS if isinstance(found.get(key), str))


def _of_words(words: str, status: int | None, kind: str, hidden: str) -> UpstreamError:
    fault: UpstreamFault = "failed"
    if status is not None:
        fault = fault_of_status(status)
    else:
        for named, code, pattern in KINDS:
            if re.search(pattern, kind, re.IGNORECASE):
                fault, status = named, code
                break
        else:
            if RATE_WORDS.match(words):
                fault, status = "busy", 429
    detail = short(words, hidden)
    is_said = bool(detail) and status != 401
    return UpstreamError(fault, detail or "an error without words", status=status, is_said=is_said)


def fault_of_status(status: int) -> UpstreamFault:
    """What kind of failure an HTTP status is."""
    if status == 429:
        return "busy"
    if status in (401, 403):
        return "refused"
    if status in (408, 504):
        return "slow"
    if status in (502, 503, 529):
        return "down"
    return "failed" if status >= 500 else "rejected"


def words_of(value: JsonValue) -> str:
    """The words in an error's object, wherever they stand."""
    if isinstance(value, str):
        inner = value.strip()
        if inner[:1] in "{[" and inner:
            try:
                return words_of(json.loads(inner)) or value
            except (ValueError, RecursionError):
                return value
        return value
    if isinstance(value, list):
        return "; ".join(filter(None, map(words_of, value[:3])))
    if not isinstance(value, dict):
        return ""
    place = value.get("loc")
    told = next((said for key in WORD_KEYS if (said := words_of(value.get(key)))), "")
    if isinstance(place, list) and told:
        told = f"{'.'.join(map(str, place))}: {told}"
    more = words_of(value.get("error_description"))
    told = f"{told}: {more}" if told and more else told or more
    meta = value.get("metadata")
    raw = words_of(meta.get("raw")) if isinstance(meta, dict) else ""
    return f"{told}: {raw}" if told and raw else told or raw


def short(text: str, hidden: str = "", chars: int = DETAIL_CHARS) -> str:
    """`text` on one line, without what looks like a key."""
    text = encodable(text[: chars * 16])
    if len(hidden) > 3:
        text = text.replace(hidden, "[key]")
    return " ".join(SECRETS.sub("[key]", text).split())[:chars]
