"""Audit rows: what guest code does that is worth a line in the outcome.

A sensor, for the events of sys.audit(3): it reports and refuses nothing. Guest code can disarm
it, for the hook is Python. Events raised while an installed module is loaded, or by the worker
between snippets, are none of the guest's doing and pass unreported.
"""

import os
import sys
from collections.abc import Callable
from types import FrameType
from typing import NamedTuple, Protocol

Arguments = tuple[object, ...]
DETAIL_CAP = 200
"""Characters of an event's argument that a report shows."""
_LOADING = ("<frozen importlib._bootstrap>", "_call_with_frames_removed")
_HERE = os.path.dirname(__file__) + "/"
_ENGINE = os.path.dirname(os.path.dirname(__file__)) + "/"
_TRANSPARENT = (_HERE + "guards.py", _HERE + "safe_builtins.py")
"""Files whose functions act on behalf of their caller."""
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


class Report(Protocol):
    def __call__(self, action: str, tried: str, rule: str, hint: str, /) -> None: ...


class Row(NamedTuple):
    """`event` is reported with `reason`; with `when`, only if that names something to show."""

    event: str
    reason: str
    when: str = ""


ROWS = (
    Row("subprocess.Popen", "starts a program"),
    Row("os.system", "starts a shell"),
    Row("os.exec", "replaces the process by a program"),
    Row("os.posix_spawn", "starts a program"),
    Row("os.fork", "copies the process"),
    Row("os.forkpty", "copies the process onto a terminal of its own"),
    Row("pty.spawn", "starts a program on a terminal of its own"),
    Row("os.kill", "signals a process"),
    Row("os.killpg", "signals a group of processes"),
    Row("socket.connect", "opens a connection"),
    Row("socket.bind", "waits for connections"),
    Row("socket.sendto", "sends a packet"),
    Row("socket.getaddrinfo", "looks up a host name"),
    Row("socket.gethostbyname", "looks up a host name"),
    Row("urllib.Request", "asks for an address on the network"),
    Row("ctypes.dlopen", "loads native code"),
    Row("ctypes.string_at", "reads memory by address"),
    Row("ctypes.cdata", "reads or writes memory by address"),
    Row("sqlite3.load_extension", "loads native code"),
    Row("open", "writes outside the workspace", when="file outside"),
    Row("pickle.find_class", "unpickles a module that the policy refuses", when="refused module"),
    Row("gc.get_objects", "looks for objects that it was not given"),
    Row("gc.get_referrers", "looks for objects that it was not given"),
    Row("code.__new__", "makes byte code by hand"),
    Row("object.__setattr__", "changes the code of a function", when="code"),
)


def watch(
    *,
    is_guest: Callable[[FrameType], bool],
    is_own_file: Callable[[str], bool],
    is_refused: Callable[[str], bool],
    report: Report,
) -> None:
    """Report the events in `ROWS` from now on; an audit hook cannot be removed."""
    rows = {row.event: row for row in ROWS}
    shown: dict[str, Callable[[Arguments], str | None]] = {
        "": lambda arguments: _detail(arguments[0]) if arguments else "",
        "file outside": lambda arguments: _written(arguments, is_own_file),
        "refused module": lambda arguments: _refused(arguments, is_refused),
        "code": lambda arguments: _detail(arguments[1]) if arguments[1] == "__code__" else None,
    }

    def hook(event: str, arguments: Arguments) -> None:
        row = rows.get(event)
        if row is None:
            return
        detail = shown[row.when](arguments)
        if detail is not None and _is_asked_by_guest(sys._getframe(1), is_guest):
            report("log", f"{event}({detail})", f"audit {event}", f"The snippet {row.reason}.")

    sys.addaudithook(hook)


def _is_asked_by_guest(frame: FrameType | None, is_guest: Callable[[FrameType], bool]) -> bool:
    while frame is not None:
        file = frame.f_code.co_filename
        if file not in _TRANSPARENT:
            if (file, frame.f_code.co_name) == _LOADING or file.startswith(_ENGINE):
                return False
            if is_guest(frame):
                return True
        frame = frame.f_back
    return False


def _written(arguments: Arguments, is_own_file: Callable[[str], bool]) -> str | None:
    """The path that an `open` event writes, if it is not the guest's to write."""
    path, _mode, flags = arguments
    if not isinstance(path, str | bytes) or not isinstance(flags, int) or not flags & _WRITING:
        return None
    text = os.fsdecode(path)
    return None if is_own_file(text) else _detail(text)


def _refused(arguments: Arguments, is_refused: Callable[[str], bool]) -> str | None:
    module, name = arguments
    if isinstance(module, str) and is_refused(module):
        return _detail(f"{module}.{name}")
    return None


def _detail(value: object) -> str:
    """`value` as short text; an object of the guest's own making shows its type only."""
    if type(value) is bytes or type(value) is str:
        return repr(value[:DETAIL_CAP])
    if type(value) is int or value is None:
        return repr(value)
    if type(value) is list or type(value) is tuple:
        return f"[{', '.join(_detail(item) for item in value[:8])}]"[:DETAIL_CAP]
    return f"<{type(value).__name__[:DETAIL_CAP]}>"
