"""What Jupyter's messages hold, made from what the engine tells."""

import os
import re
import sys
from typing import TYPE_CHECKING

from runner.bundles import notebook_bundle
from runner.faces.jupyter.wire import PROTOCOL, Content, Request

if TYPE_CHECKING:
    from sandbox import Outcome

BANNER = "Cellblock: Python in a jail"
PAGED = re.compile(r"\s*(\?{0,2})\s*([^\W\d]\w*(?:\.[^\W\d]\w*)*)\s*(\?{0,2})\s*")
SHOWN_CHARS = 2000


def kernel_info() -> Content:
    """What the kernel is; needs nothing of the engine."""
    return {
        "status": "ok",
        "protocol_version": PROTOCOL,
        "implementation": "cellblock",
        "implementation_version": _version(),
        "language_info": {
            "name": "python",
            "version": ".".join(map(str, sys.version_info[:3])),
            "mimetype": "text/x-python",
            "file_extension": ".py",
            "pygments_lexer": "ipython3",
            "codemirror_mode": {"name": "ipython", "version": 3},
            "nbconvert_exporter": "python",
        },
        "banner": BANNER,
        "help_links": [],
    }


def ok(count: int) -> Content:
    """The reply to a cell that ended well."""
    return {"status": "ok", "execution_count": count, "payload": [], "user_expressions": {}}


def error(kind: str, message: str, lines: list[str] | None = None) -> Content:
    """An error as Jupyter tells it."""
    shown = [f"{kind}: {message}"] if lines is None else lines
    return {"status": "error", "ename": kind, "evalue": message, "traceback": shown}


def ending_error(outcome: "Outcome") -> Content:
    """Why a cell did not end well."""
    if outcome.status == "raised":
        found = outcome.error
        return error(found.type, found.message, found.traceback.splitlines())
    lines = outcome.for_model(max_chars=SHOWN_CHARS).splitlines()
    return error(outcome.status, lines[0], lines)


def bundle_of(bundle: dict[str, str]) -> Content:
    """A bundle as notebooks show it: they would rather show a table's JSON than the table."""
    left_out = "application/json" if "text/html" in bundle else ""
    return notebook_bundle({kind: text for kind, text in bundle.items() if kind != left_out})


def is_echo(bundle: dict[str, str], text: str | None) -> bool:
    """Whether a display is the forms of a cell's result, whose text is `text`."""
    return text is not None and len(bundle) > 1 and bundle.get("text/plain") == text


def text_of(request: Request, name: str) -> str:
    """A text of the request; empty where it has none."""
    value = request.content.get(name)
    return value if isinstance(value, str) else ""


def paged_name(code: str) -> str | None:
    """The name that `code` asks about, as `name?` and `?name` do."""
    found = PAGED.fullmatch(code)
    return found[2] if found is not None and (found[1] or found[3]) else None


def name_at(code: str, cursor: int) -> str:
    """The dotted name that ends at or around `cursor`; before it the one of an open call."""
    cursor = max(0, min(cursor, len(code)))
    end = cursor
    while end < len(code) and (code[end].isalnum() or code[end] == "_"):
        end += 1
    begin = cursor
    while begin > 0 and (code[begin - 1].isalnum() or code[begin - 1] in "_."):
        begin -= 1
    name = code[begin:end].strip(".")
    if not name and (opened := code.rfind("(", 0, cursor)) > 0:
        return name_at(code[:opened], opened)
    return name


def _version() -> str:
    # importlib.metadata takes a fifth of the time in which a notebook is ready to import.
    for folder in sys.path:
        try:
            names = os.listdir(folder)
        except OSError:
            continue
        for name in names:
            if name.startswith("cellblock-") and name.endswith(".dist-info"):
                return name.removeprefix("cellblock-").removesuffix(".dist-info")
    # Run from a checkout that was not installed.
    return "0"
