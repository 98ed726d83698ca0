"""Tells what a traced snippet tries: files, programs, addresses, signals, code, internals.

A sensor for the events of sys.audit(3), in the session's interpreter: it reports and refuses
nothing. Guest code can disarm it, and can say what it likes in its place, so the host marks all of
it as the guest's word. What C code does on its own, and programs that a snippet starts, raise no
such events; what the kernel refuses them is noted by init (see `branching.refused_calls`).

Each different attempt is told at once, when it comes first: a snippet may end its process in the
next moment. Repetitions are counted here.
"""

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from types import FrameType

from sandbox.guest.language import audited_events
from sandbox.guest.language.code_origin import SNIPPET_FILE, Origins
from sandbox.protocol.bounds import NAME_CAP
from sandbox.protocol.messages import ATTEMPTS_CAP

COUNT_CAP = 2**31
_ENGINE = os.path.dirname(os.path.dirname(__file__)) + "/"
_NOTEBOOK = _ENGINE + "notebook/"
_LOADING = ("<frozen importlib._bootstrap>", "_call_with_frames_removed")
_OF_ENVIRONMENT = ("<frozen os>", "<frozen _collections_abc>", os.__file__)
"""Files whose functions read the environment for their caller."""

Say = Callable[[audited_events.Tried, int], None]
"""Receives an attempt and the line of the snippet, 0 where none is known."""


class Attempts:
    """What one snippet after the other tries, each different attempt told once."""

    def __init__(self, origins: Origins, judge: audited_events.Judge, say: Say) -> None:
        self._origins = origins
        self._judge = judge
        self._say = say
        self._counts: dict[tuple[str, str, bool], int] = {}
        self._left_out = 0
        self._opened: dict[tuple[str, int], list[tuple[str, str, bool]]] = {}
        """What an opening of a path with these flags was counted as, in this directory."""
        self._is_on = False
        self._busy: set[int] = set()
        """Threads in which an event is looked at: looking raises events too."""
        self._readers = audited_events.READERS

    def install(self) -> None:
        """Watch this interpreter from now on; an audit hook cannot be removed."""
        sys.addaudithook(self._make_hook())

    def begin(self) -> None:
        """Begin with a snippet."""
        self._counts.clear()
        self._opened.clear()
        self._left_out = 0
        self._is_on = True

    def end(self) -> tuple[list[int], int]:
        """How often each attempt came, in the order in which they were told; and the others."""
        self._is_on = False
        self._opened.clear()
        return [min(COUNT_CAP, count) for count in self._counts.values()], self._left_out

    def note(self, tried: audited_events.Tried, line: int) -> None:
        """Count an attempt, and tell it if it is the first of its kind."""
        key = (tried.action, tried.what, tried.is_allowed)
        count = self._counts.get(key)
        if count is not None:
            self._counts[key] = count + 1
        elif len(self._counts) >= ATTEMPTS_CAP:
            self._left_out = min(COUNT_CAP, self._left_out + 1)
        else:
            self._counts[key] = 1
            self._say(tried, line)

    def note_import(self, module: str, *, is_allowed: bool, rule: str) -> None:
        """Note that an import that guest code asked for was judged."""
        if self._is_on:
            tried = audited_events.Tried(
                "import_policy", "import", module[:NAME_CAP], {"module": module[:NAME_CAP]},
                is_allowed, rule[:NAME_CAP],
            )  # fmt: skip
            self.note(tried, line_of(sys._getframe(1)))

    def watch_environment(self) -> None:
        """Tell when guest code reads all variables: no audit event does."""
        watcher = self

        class Environ(os._Environ):  # type: ignore[type-arg]
            """The variables of this process."""

            def __iter__(self) -> Iterator[str]:
                watcher._note_environment(sys._getframe(1))
                return super().__iter__()

            def __repr__(self) -> str:
                watcher._note_environment(sys._getframe(1))
                return super().__repr__()

        Environ.__name__ = Environ.__qualname__ = "_Environ"
        Environ.__module__ = "os"
        os.environ.__class__ = Environ

    def _note_environment(self, frame: FrameType | None) -> None:
        while frame is not None and frame.f_code.co_filename in _OF_ENVIRONMENT:
            frame = frame.f_back
        if self._is_on and frame is not None and self._origins.is_guest_frame(frame):
            what = audited_events.Tried("guest", "environment", "all variables", {}, True, "")
            self.note(what, line_of(frame))

    def _make_hook(self) -> Callable[[str, tuple[object, ...]], None]:
        """What is called for each event; what is opened again and again is counted first."""
        counts, opened, readers = self._counts, self._opened, self._readers

        def hook(event: str, arguments: tuple[object, ...]) -> None:
            if event == "open":
                path, _mode, flags = arguments
                if type(path) is str and type(flags) is int:
                    known = opened.get((path, flags))
                    if known is not None:
                        for kind in known:
                            counts[kind] += 1
                        return
            reader = readers.get(event)
            if reader is not None:
                if self._is_on:
                    self._look_alone(reader, arguments)
            elif event == "os.chdir":
                opened.clear()

        return hook

    def _look_alone(self, reader: audited_events.Reader, arguments: tuple[object, ...]) -> None:
        thread = audited_events.thread_id()
        if thread in self._busy:
            return
        self._busy.add(thread)
        try:
            self._look(reader, arguments)
        # A sensor must not change what it watches: whatever a guest's object does when it is
        # looked at is no error of the call that it was given to.
        except Exception:  # noqa: BLE001, S110
            pass
        finally:
            self._busy.discard(thread)

    def _look(self, reader: audited_events.Reader, arguments: tuple[object, ...]) -> None:
        frame: FrameType | None = sys._getframe(3)
        asker = self._asker(frame, is_program=reader is self._readers["subprocess.Popen"])
        if asker is None:
            return
        is_direct = asker is frame or self._is_wrapper(frame, asker)
        kinds = []
        for tried in reader(self._judge, arguments, is_direct):
            self.note(tried, line_of(asker))
            kinds.append((tried.action, tried.what, tried.is_allowed))
        is_opening = reader is self._readers["open"] and type(arguments[0]) is str
        # What was not counted by itself is looked at each time, and left out each time.
        has_room = len(self._opened) < ATTEMPTS_CAP
        if is_opening and has_room and kinds and all(kind in self._counts for kind in kinds):
            self._opened[arguments[0], arguments[2]] = kinds  # type: ignore[index]

    def _asker(self, frame: FrameType | None, *, is_program: bool = False) -> FrameType | None:
        """The frame of guest code that an event is due to; None where it is the engine's.

        A program is the snippet's also where it is a line of a notebook: `!curl`.
        """
        while frame is not None:
            code = frame.f_code
            if is_program and code.co_filename.startswith(_NOTEBOOK):
                frame = frame.f_back
                continue
            if (code.co_filename, code.co_name) == _LOADING or code.co_filename.startswith(_ENGINE):
                return None
            if self._origins.is_guest_frame(frame):
                return frame
            frame = frame.f_back
        return None

    @staticmethod
    def _is_wrapper(frame: FrameType | None, asker: FrameType) -> bool:
        """Whether only pathlib or the like is between: `Path.read_text` opens for its caller."""
        while frame is not None and frame is not asker:
            name = frame.f_globals.get("__name__")
            if not isinstance(name, str) or name.partition(".")[0] not in ("pathlib", "io", "os"):
                return False
            frame = frame.f_back
        return True


def line_of(frame: FrameType | None) -> int:
    """The line of the nearest frame of a snippet, 0 where there is none."""
    while frame is not None:
        if frame.f_code.co_filename.startswith(SNIPPET_FILE):
            return frame.f_lineno or 0
        frame = frame.f_back
    return 0


class ChildAttempts:
    """A pipe on which processes that the snippet forked say what they try."""

    LINE_CAP = 2_000
    """Below PIPE_BUF, so that lines of several children do not mix."""
    READ_BYTES = 1 << 16

    def __init__(self) -> None:
        self._read, self._write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)

    def say(self, line: bytes) -> None:
        """Write one line, in a child; one that does not fit is lost."""
        if len(line) <= self.LINE_CAP:
            with suppress(OSError):
                os.write(self._write, line + b"\n")

    def take(self) -> Sequence[bytes]:
        """The lines said so far, then close."""
        data = b""
        with suppress(OSError):
            data = os.read(self._read, self.READ_BYTES)
        for fd in (self._read, self._write):
            with suppress(OSError):
                os.close(fd)
        return data.split(b"\n")[:-1]
