"""Describes an error: its classes, its message, and the lines that a reader looks for."""

import linecache
import re
import traceback
from typing import Any

TRACEBACK_CAP = 16 * 1024
HEAD = "Traceback (most recent call last):\n"
OWN_FILE = re.compile(r"runner[./]evals[./]guest[./]")


def describe(error: BaseException) -> list[Any]:
    """Names of the error's classes, nearest first, its message and its traceback."""
    names = [base.__name__ for base in type.mro(type(error))]
    try:
        message = str(error)
    # The message is the candidate's code.
    except BaseException as another:  # noqa: BLE001
        message = f"<no message: {type(another).__name__}>"
    try:
        text = "".join(
            without_own_frames(traceback.TracebackException.from_exception(error)).format()
        )
    except BaseException as another:  # noqa: BLE001
        text = f"<no traceback: {type(another).__name__}>"
    return [names, message[:TRACEBACK_CAP], text[-TRACEBACK_CAP:]]


def without_own_frames(error: traceback.TracebackException) -> traceback.TracebackException:
    """The traceback of a test or a candidate, without the lines of what runs them."""
    part: traceback.TracebackException | None = error
    while part is not None:
        shown = [frame for frame in part.stack if not OWN_FILE.search(frame.filename)]
        part.stack = traceback.StackSummary.from_list(shown)
        part = part.__cause__ or part.__context__
    return error


def below_the_test(error: BaseException, text: str) -> str:
    """The traceback `text` of a candidate, behind the lines of the test that called it."""
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if frame.filename in ("<test>", "<prompt>")
    ]
    if not frames:
        return text
    shown = "".join(traceback.StackSummary.from_list(frames).format())
    return HEAD + shown + text.removeprefix(HEAD)


def show_lines(file: str, source: str) -> None:
    """Let tracebacks and `inspect` show the lines of `source` as those of `file`."""
    linecache.cache[file] = (len(source), None, source.splitlines(keepends=True), file)
