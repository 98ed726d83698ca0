"""An exception of guest code as text: its own frames only, bounded, whatever its `__str__` does."""

import builtins
import errno
import linecache
import opcode
import os
import sys
import traceback
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import Any, NamedTuple

from sandbox.guest.display.names import short_type_name
from sandbox.guest.display.texts import clean, cut

MESSAGE_CAP = 100_000
TRACEBACK_CAP = 200_000
ERRNO_CAP = 4_096
LINE_CAP = 4_000
"""Characters of one line of a traceback: source may have a megabyte in one line."""
FRAMES_READ = 2_000
REPEATS_SHOWN = 3
HEAD_FRAMES = 40
TAIL_FRAMES = 60
CHAIN_CAP = 20
"""Exceptions of one chain (`__cause__`, `__context__`) that are shown, from the last one back."""

MOVE, CASE = 2, 1
"""What another letter costs, and the same one in another case: as in CPython."""
CANDIDATES_CAP = 750
LENGTH_CAP = 40

RAISE = opcode.opmap["RAISE_VARARGS"]
_MACHINERY = "<frozen importlib._bootstrap"


class Described(NamedTuple):
    """What a message says about an exception.

    `errno` is that of an OSError, ENOMEM for memory that the interpreter could not get, else 0.
    """

    type: str
    message: str
    traceback: str
    errno: int


def describe(error: BaseException, advice: str = "") -> Described:
    """`error` as text, with a line of `advice` if there is one.

    Runs its `__str__`; lets a KeyboardInterrupt that hits there through.
    """
    kind = short_type_name(type(error))
    if isinstance(error, MemoryError):
        # Locals of the frames that have ended may be what the memory went to.
        traceback.clear_frames(error.__traceback__)
    message = _message(error)
    try:
        text = _format(error)
    # A subclass may break any attribute that the formatter reads, and memory may be short.
    except Exception as failure:  # noqa: BLE001
        text = _plain(error, kind, message, failure)
    text = clean(cut(_cut_lines(text), TRACEBACK_CAP))
    if advice:
        message = f"{message}\n{clean(advice)}" if message else clean(advice)
        text = f"{text.rstrip()}\n{clean(advice)}\n"
    return Described(kind, message, text, _errno(error))


def describe_syntax_error(error: BaseException) -> Described:
    """`error`, raised while a snippet was compiled, as text: no frames, the line and the caret."""
    if isinstance(error, SyntaxError) and error.text is None and error.lineno is not None:
        error.text = linecache.getline(error.filename or "", error.lineno) or None
    return describe(error.with_traceback(None))


def _message(error: BaseException) -> str:
    try:
        return clean(cut(str(error), MESSAGE_CAP))
    # `__str__` is guest code.
    except Exception as failure:  # noqa: BLE001
        return f"<str of the exception failed: {short_type_name(type(failure))}>"


def _errno(error: BaseException) -> int:
    if isinstance(error, MemoryError):
        return errno.ENOMEM if _is_of_interpreter(error) else 0
    if not isinstance(error, OSError):
        return 0
    number = BaseException.__getattribute__(error, "errno")
    return number if type(number) is int and 0 <= number <= ERRNO_CAP else 0


def _is_of_interpreter(error: MemoryError) -> bool:
    """Whether an allocation failed, and no `raise` statement made the error by hand."""
    node = error.__traceback__
    while node is not None and node.tb_next is not None:
        node = node.tb_next
    return node is not None and node.tb_frame.f_code.co_code[node.tb_lasti] != RAISE


def _format(error: BaseException) -> str:
    end, cause, context = _last_shown(error)
    end.__cause__, end.__context__ = None, None
    try:
        shown = traceback.TracebackException(
            type(error),
            error,
            error.__traceback__,
            limit=-FRAMES_READ,
            lookup_lines=False,
            compact=True,
        )
    finally:
        suppress = end.__suppress_context__
        end.__cause__, end.__context__ = cause, context
        end.__suppress_context__ = suppress
    meant = _suggestion(error)
    if meant:
        setattr(shown, "_str", f"{shown}{meant}")  # noqa: B010
    files = (node.tb_frame.f_code.co_filename for node in _nodes(error.__traceback__))
    depth = sum(not is_engine(file) for file in files)
    for part in _parts(shown):
        stack = _Stack()
        if part is shown:
            stack.take(_below_loop(part.stack), max(0, depth - FRAMES_READ))
        else:
            stack.take(part.stack, 0)
        # Without a stack the formatter leaves the heading out as well.
        part.stack = stack or None  # type: ignore[assignment]
    return "".join(shown.format())


def _last_shown(
    error: BaseException,
) -> tuple[BaseException, BaseException | None, BaseException | None]:
    """Where the chain is cut off, and what its links are there."""
    for _ in range(CHAIN_CAP - 1):
        link = error.__cause__
        if link is None and not error.__suppress_context__:
            link = error.__context__
        if link is None:
            break
        error = link
    return error, error.__cause__, error.__context__


def _parts(shown: traceback.TracebackException) -> Iterator[traceback.TracebackException]:
    """`shown` and all exceptions that are shown with it."""
    waiting: list[traceback.TracebackException | None] = [shown]
    while waiting:
        part = waiting.pop()
        if part is not None:
            yield part
            waiting += [part.__cause__, part.__context__, *(part.exceptions or ())]


def _below_loop(frames: list[traceback.FrameSummary]) -> list[traceback.FrameSummary]:
    """`frames` without those of an event loop that lead to the snippet's first one."""
    asyncio = sys.modules.get("asyncio")
    if asyncio is None or not asyncio.__file__:
        return frames
    package = os.path.dirname(asyncio.__file__)
    selectors = os.path.join(os.path.dirname(package), "selectors.py")
    for index, frame in enumerate(frames):
        if not (
            is_engine(frame.filename) or frame.filename.startswith((package + os.sep, selectors))
        ):
            return frames[index:]
    return []


_HERE = os.path.dirname(describe.__code__.co_filename)
_ENGINE = os.path.dirname(os.path.dirname(_HERE)) + os.sep


def is_engine(file: str) -> bool:
    """Whether `file` is the engine's, or the machinery of imports."""
    return file.startswith((_ENGINE, _MACHINERY))


def _nodes(node: TracebackType | None) -> Iterator[TracebackType]:
    while node is not None:
        yield node
        node = node.tb_next


def from_the_guest(trace: TracebackType | None) -> TracebackType | None:
    """What of `trace` begins with the guest's first frame."""
    return next(
        (node for node in _nodes(trace) if not is_engine(node.tb_frame.f_code.co_filename)), None
    )


class _Stack(traceback.StackSummary):
    """Frames of the guest; `notes` say what is not shown after the frame of that number."""

    notes: dict[int, str]

    def take(self, frames: list[traceback.FrameSummary], left_out: int) -> None:
        """Hold what is to be shown of `frames`; `left_out` more were before them."""
        self.notes = {-1: f"  [{left_out} frames left out]\n"} if left_out else {}
        groups = _grouped([frame for frame in frames if not is_engine(frame.filename)])
        gap = range(HEAD_FRAMES, max(HEAD_FRAMES, len(groups) - TAIL_FRAMES))
        for index, (frame, repeats) in enumerate(groups):
            if index in gap:
                continue
            self.append(frame)
            note = ""
            if repeats:
                times = "time" if repeats == 1 else "times"
                note += f"  [Previous line repeated {repeats} more {times}]\n"
            if gap and index == HEAD_FRAMES - 1:
                count = sum(1 + repeats for _, repeats in groups[gap.start : gap.stop])
                note += f"  [{count} frames left out]\n"
            self.notes[len(self) - 1] = note

    def format(self, **options: Any) -> list[str]:
        lines = [self.notes.get(-1, "")]
        for index, frame in enumerate(self):
            lines += traceback.StackSummary.from_list([frame]).format(**options)
            lines.append(self.notes[index])
        return lines


def _grouped(frames: list[traceback.FrameSummary]) -> list[tuple[traceback.FrameSummary, int]]:
    """The frames to show, each with the number of equal ones after it that are not."""
    groups: list[tuple[traceback.FrameSummary, int]] = []
    place: object = None
    run = 0
    for frame in frames:
        here = frame.filename, frame.lineno, frame.name
        run = run + 1 if here == place else 1
        place = here
        if run > REPEATS_SHOWN:
            groups[-1] = groups[-1][0], groups[-1][1] + 1
        else:
            groups.append((frame, 0))
    return groups


# ---- what was meant -----------------------------------------------------------------------------


def _suggestion(error: BaseException) -> str:
    """` Did you mean: 'x'?` for `error`, with what goes before it; empty for no such thing.

    Runs the guest's `__dir__`, and raises what that raises.
    """
    if sys.version_info >= (3, 12):
        return ""  # `traceback` has said it. In 3.11 only C code does.
    if isinstance(error, AttributeError):
        wrong = AttributeError.__dict__["name"].__get__(error)
        known: Iterable[Any] = dir(AttributeError.__dict__["obj"].__get__(error))
        if type(wrong) is str and not wrong.startswith("_"):
            known = [name for name in known if type(name) is str and not name.startswith("_")]
    elif isinstance(error, NameError):
        wrong = NameError.__dict__["name"].__get__(error)
        node = error.__traceback__
        while node is not None and node.tb_next is not None:
            node = node.tb_next
        if node is None:
            return ""
        frame = node.tb_frame
        known = [*frame.f_locals, *frame.f_globals, *vars(builtins)]
    else:
        return ""
    names = [name for name in dict.fromkeys(known) if type(name) is str]
    if type(wrong) is not str or len(wrong) > LENGTH_CAP or len(names) > CANDIDATES_CAP:
        return ""
    found = _closest(wrong, names)
    return f". Did you mean: '{found}'?" if found else ""


def _closest(wrong: str, names: list[str]) -> str:
    best, best_cost = "", sys.maxsize
    for name in names:
        if name == wrong or len(name) > LENGTH_CAP:
            continue
        cost = _distance(wrong, name)
        if cost <= (len(name) + len(wrong) + 3) * MOVE // 6 and cost < best_cost:
            best, best_cost = name, cost
    return best


def _distance(one: str, other: str) -> int:
    """The least cost of turning one text into the other (Levenshtein)."""
    row = [column * MOVE for column in range(len(other) + 1)]
    for letter in one:
        diagonal, row[0] = row[0], row[0] + MOVE
        for column, aim in enumerate(other, 1):
            same = 0 if letter == aim else CASE if letter.lower() == aim.lower() else MOVE
            diagonal, row[column] = (
                row[column],
                min(diagonal + same, row[column] + MOVE, row[column - 1] + MOVE),
            )
    return row[-1]


# ---- without the formatter ----------------------------------------------------------------------


def _plain(error: BaseException, kind: str, message: str, failure: Exception) -> str:
    """Places and message only, made with as little as possible."""
    lines = [f"[the traceback was not formatted: {short_type_name(type(failure))}]"]
    for node in list(_nodes(error.__traceback__))[-TAIL_FRAMES:]:
        code = node.tb_frame.f_code
        if not is_engine(code.co_filename):
            lines.append(f'  File "{code.co_filename}", line {node.tb_lineno}, in {code.co_name}')
    return "\n".join([*lines, f"{kind}: {message}" if message else kind, ""])


def _cut_lines(text: str) -> str:
    if len(text) <= LINE_CAP:
        return text
    return "\n".join(
        line
        if len(line) <= LINE_CAP
        else f"{line[: LINE_CAP // 2]} ... [{len(line) - LINE_CAP} characters left out] ... "
        f"{line[-LINE_CAP // 2 :]}"
        for line in text.split("\n")
    )
