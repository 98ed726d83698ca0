"""The denial behind the error that ended a snippet, where its errno names a layer.

For snippets that are not traced: it costs nothing before there is an error. The guest gives the
errno and the text, so the denial is its word.
"""

import errno
import re

from sandbox.outcome import Denial
from sandbox.protocol.messages import Done
from sandbox.protocol.plan import JailPlan
from sandbox.trace import remedies

LINE = re.compile(r'File "<snippet [^"\n]{0,40}>", line (\d{1,9})')
PATH = re.compile(r": '(/[^'\n]{1,900})'")
UNREACHABLE = (errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN)
UNRESOLVED = re.compile(r"\[Errno -[0-9]+\]|Name or service not known|name resolution")
NOWHERE = re.compile(r"\[Errno (101|113)\]|Network is unreachable|No route to host")
TEXT_SEARCHED = 4_000
NO_NETWORK = "the session has no network but its own loopback"


def denial_of(done: Done, plan: JailPlan) -> Denial | None:
    """What a layer refused, as the uncaught error shows; None where it shows nothing of that."""
    message = done.error_message[:TEXT_SEARCHED]
    found = _kind_of(done, message, plan)
    if found is None:
        return None
    layer, tried, rule, action, arguments = found
    if not plan.asks_for(layer):
        return None
    lines = LINE.findall(done.error_traceback)
    return Denial(
        layer=layer,
        tried=tried,
        rule=rule,
        line=int(lines[-1]) if lines else 0,
        arguments=arguments,
        allow_with=remedies.allow_with(action, arguments, plan.tier),
        sentence=remedies.sentence(action, tried, rule),
        is_guests_word=True,
    )


def _kind_of(
    done: Done, message: str, plan: JailPlan
) -> tuple[str, str, str, str, dict[str, str]] | None:
    path = PATH.search(message)
    where = {"path": path[1]} if path else {}
    code = done.error_errno
    if code == errno.EROFS:
        tried = path[1] if path else "a read-only file"
        rule = "nothing outside of the workspace and /tmp can be written"
        return "mount_namespace", tried, rule, "write", where
    if code in (errno.EACCES, errno.EPERM) and plan.asks_for("seccomp"):
        if path is None:
            return "seccomp", message[:200], "the filter of system calls", "call", {}
        layer = "mount_namespace" if plan.asks_for("mount_namespace") else "landlock"
        return layer, path[1], "no rule lets the session have it", "read", where
    if code in UNREACHABLE or NOWHERE.search(message) or UNRESOLVED.search(message):
        return "net_namespace", message[:200], NO_NETWORK, "connect", {}
    return None
