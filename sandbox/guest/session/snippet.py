"""Compile and run one snippet: its echo, its error cut to guest frames, its variables."""

import builtins
import errno
import os
import sys
from _sitebuiltins import _Helper
from collections.abc import Callable
from contextlib import suppress
from contextvars import copy_context
from types import CoroutineType, ModuleType
from typing import Any, Literal, NamedTuple, NoReturn

from sandbox.guest.display import figures, streams, tracebacks
from sandbox.guest.display.advice import advice_for
from sandbox.guest.display.board import Screen
from sandbox.guest.display.display import Displays
from sandbox.guest.display.names import Names, Row
from sandbox.guest.display.warned import Warned
from sandbox.guest.language.hooks import ImportHooks
from sandbox.guest.language.import_clock import ImportClock
from sandbox.guest.language.sources import Sources
from sandbox.guest.notebook import forms, magics
from sandbox.guest.notebook.history import History
from sandbox.guest.session import library_changes, program_end, uncaught
from sandbox.guest.session.compiler import Compiled, Compiler, Refused
from sandbox.guest.session.eventloop import EventLoop
from sandbox.guest.session.main_module import MainModule
from sandbox.protocol.plan import WORKSPACE, Language

CO_COROUTINE = 0x80
PROGRAM = "snippet"
"""What a snippet finds in `sys.argv[0]`: `argparse` names it."""


class Ending(NamedTuple):
    """How a snippet ended. The error fields are empty unless it raised or was refused.

    `names` are rows (change, name, type, size text, size in bytes) of session variables.
    """

    ended: Literal["completed", "raised", "refused"]
    names: list[Row]
    text: str | None = None
    error_type: str = ""
    error_message: str = ""
    error_traceback: str = ""
    error_errno: int = 0
    refused_line: int = 0
    exit_code: int = -1
    """What a script would end with; -2 for a text, -1 where it raised anything but
    `SystemExit`."""


class SnippetRunner:
    """Runs the snippets of one session, one after the other, in one `__main__` module.

    The thread that calls `run` is the one whose SIGINT handler may raise KeyboardInterrupt:
    wherever that hits, `run` returns an ending.
    """

    def __init__(
        self,
        *,
        language: Language,
        screen: Screen,
        notebook: bool = True,
        keeps_going: bool = False,
    ) -> None:
        module = ModuleType("__main__")
        module.__dict__["__builtins__"] = builtins
        sys.modules["__main__"] = module
        self.namespace: dict[str, Any] = module.__dict__
        self._builtins: dict[str, Any] = builtins.__dict__
        hooks = ImportHooks()
        hooks.install()
        self.clock = ImportClock()
        self.clock.install()
        self._sources = Sources(hooks)
        self._warned = Warned()
        self._displays = Displays(screen, hooks, self._warned)
        self._compiler = Compiler(language, keeps_going=keeps_going)
        self._passed_over: Exception | None = None
        """The first error that did not end the snippet, where it keeps going."""
        self._has_notebook = notebook and language == "full"
        self.loop = EventLoop(hooks)
        library_changes.teach(hooks, MainModule(self._sources, self.namespace))
        self._context = copy_context()
        self._recursion_limit = self._guest_recursion_limit = sys.getrecursionlimit()
        self._text: str | None = None
        self._number = 0
        self._rows: list[Row] | None = None
        self._directory = WORKSPACE
        _complete_builtins()
        if language == "restricted":
            self._restrict()
        self._names = Names(self.namespace)
        self._history = History(self._builtins, self._sources, is_whole=self._has_notebook)
        self._magics = magics.Magics(self.namespace, self._displays, self._history)
        if self._has_notebook:
            magics.offer(self._magics)

    def enter(self, directory: str) -> None:
        """Start a session in this process; `directory` is its workspace."""
        self._directory = self._displays.directory = directory
        sys.argv[:] = [PROGRAM]

    def run(self, code: str, number: int, script: str | None = None) -> Ending:
        """Run `code` as snippet `number`. Never raises; a child that it forked never returns.

        With `script` it ends as a program does; it is the program's path, or empty.
        """
        try:
            return self._run(code, number, script)
        # Between two stages: an interrupt, or the end of a memory that the snippet holds.
        except (KeyboardInterrupt, MemoryError, RecursionError) as error:
            names = self._rows or []
            with suppress(MemoryError):
                names += self._names.changes()
            number = errno.ENOMEM if isinstance(error, MemoryError) else 0
            return Ending(
                "raised", names, None, type(error).__name__, str(error), error_errno=number
            )
        finally:
            self._displays.end()
            self._text = self._rows = self._passed_over = None
            self._magics.end()

    def forget(self, number: int) -> None:
        """Leave no trace of snippet `number`, which set no variable."""
        self._sources.forget(number)
        self._history.forget()

    def _run(self, code: str, number: int, script: str | None) -> Ending:
        pid = os.getpid()
        streams.reopen()
        self._displays.begin()
        file, text = self._sources.add(number, code)
        lines = self._sources.lines(file)
        self._warned.begin(file, len(lines))
        self.loop.begin()
        self._number = number
        self._history.begin(number)
        if self._has_notebook:
            self._magics.begin(text)
        if script:
            self.namespace["__file__"] = os.path.join(self._directory, script)
            sys.argv[:] = [self.namespace["__file__"]]
        try:
            compiled = self._compile(text, file, lines)
        # The compiler may run out of stack or memory; a warning filter may raise anything.
        except Exception as error:  # noqa: BLE001
            return self._raised(tracebacks.describe_syntax_error(error))
        if isinstance(compiled, Refused):
            return Ending("refused", [], error_message=compiled.reason, refused_line=compiled.line)
        return self._conclude(self._attempt(self._evaluate, compiled), pid, script is not None)

    def _compile(self, text: str, file: str, lines: list[str]) -> Compiled | Refused:
        try:
            return self._compiler.compile(text, file, lines)
        except SyntaxError:
            rewritten = forms.rewrite(text) if self._has_notebook else None
            if rewritten is None:
                raise
        return self._compiler.compile(rewritten, file, rewritten.splitlines(keepends=True))

    def _conclude(self, error: BaseException | None, pid: int, is_program: bool) -> Ending:
        # No caller holds `error` in a variable: its traceback leads back to the callers' frames,
        # and the cycle would keep all that the snippet's functions held.
        if os.getpid() != pid:
            _end_child(error)
        # An interrupted snippet has no time left to draw; its figures wait for the next one.
        if isinstance(error, KeyboardInterrupt):
            _forget_half_imported()
        elif figures.may_be_open():
            late = self._attempt(self._context.run, self._displays.show_figures)
            error = error or late
        names = self._rows = self._names.changes()
        # Before the end of a program: that drops the variables whose names may be meant.
        described = self._describe(error)
        if is_program and described is not None:
            self._attempt(self._context.run, uncaught.call_hook, error)
        # Most snippets have nothing left to do.
        if is_program or self.loop.is_made or program_end.has_files():
            late = self._attempt(self._leave, error, is_program, is_guests=False)
            if error is None and late is not None:
                error, described = late, self._describe(late)
        self._displays.finish()
        if described is None:
            return Ending("completed", names, self._text)
        return self._raised(described, names)._replace(exit_code=_exit_code(error))

    def _describe(self, error: BaseException | None) -> tracebacks.Described | None:
        """What a message says about `error`; None if a snippet has come to its end."""
        if error is None or _is_clean_exit(error):
            return None
        self._sources.restore()
        return tracebacks.describe(error, advice_for(error, self._directory))

    def _leave(self, error: BaseException | None, is_program: bool) -> None:
        """What comes after a snippet's last line: its tasks, its files, a program's end."""
        if isinstance(error, KeyboardInterrupt):
            program_end.write_out_files()
            return
        self._context.run(self.loop.go_on)
        if is_program:
            self._context.run(program_end.end_program, self.namespace)
        else:
            program_end.write_out_files()

    def _raised(self, described: tracebacks.Described, names: list[Row] | None = None) -> Ending:
        return Ending(
            "raised",
            self._names.changes() if names is None else names,
            None,
            described.type,
            described.message,
            described.traceback,
            described.errno,
        )

    def _attempt(
        self, stage: Callable[..., object], *arguments: object, is_guests: bool = True
    ) -> BaseException | None:
        """What `stage` raised, None if it came to its end.

        It runs with the guest's recursion limit, but for a stage that is not the guest's.
        """
        tracer, profiler = sys.gettrace(), sys.getprofile()
        try:
            if is_guests and self._guest_recursion_limit != self._recursion_limit:
                self._lend_recursion_limit()
            stage(*arguments)
        except BaseException as error:  # noqa: BLE001
            return error
        finally:
            # A tracer that the snippet left behind would go on with the engine's own functions.
            if sys.gettrace() is not tracer:
                sys.settrace(tracer)
            if sys.getprofile() is not profiler:
                sys.setprofile(profiler)
            left = sys.getrecursionlimit()
            if is_guests or left != self._recursion_limit:
                self._guest_recursion_limit = left
            if left != self._recursion_limit:
                sys.setrecursionlimit(self._recursion_limit)
        return None

    def _lend_recursion_limit(self) -> None:
        # Refused where the guest's limit is below the depth of this very call.
        with suppress(RecursionError):
            sys.setrecursionlimit(self._guest_recursion_limit)

    def _evaluate(self, compiled: Compiled) -> None:
        # All of a session runs in one context, so that a variable that one snippet sets, in a
        # coroutine or not, is what the next one finds. Numpy's print options are such variables.
        codes = (compiled.body, *compiled.steps, compiled.echo)
        if any(code is not None and code.co_flags & CO_COROUTINE for code in codes):
            value = self.loop.run(self._await(compiled), self._context)
        else:
            value = self._context.run(self._call, compiled)
        if value is not None and not compiled.is_silent:
            self._text = self._context.run(self._displays.echo, value)
            # A coroutine that is only looked at was meant to be awaited: let Python say so now.
            if type(value) is not CoroutineType:
                self._history.note(self._number, value)
        if self._passed_over is not None:
            raise self._passed_over

    def _call(self, compiled: Compiled) -> Any:
        if compiled.body is not None:
            eval(compiled.body, self.namespace)
        for step in compiled.steps:
            try:
                eval(step, self.namespace)
            except Exception as error:  # noqa: BLE001
                self._pass_over(error)
        return None if compiled.echo is None else eval(compiled.echo, self.namespace)

    def _pass_over(self, error: Exception) -> None:
        """Say that a statement raised, and that the next one runs."""
        if self._passed_over is None:
            self._passed_over = error
        # Standard streams may be any object of the snippet's.
        with suppress(Exception):
            sys.stderr.write(f"{type(error).__name__}: {error}; the next statement runs\n")

    async def _await(self, compiled: Compiled) -> Any:
        """As `_call`, but all of it with a running loop, also what does not await itself."""
        value: Any = None
        for step in compiled.steps:
            try:
                value = eval(step, self.namespace)
                if step.co_flags & CO_COROUTINE:
                    await value
            except Exception as error:  # noqa: BLE001
                self._pass_over(error)
        for code in compiled[:2]:
            value = None if code is None else eval(code, self.namespace)
            if code is not None and code.co_flags & CO_COROUTINE:
                value = await value
        return value

    def _restrict(self) -> None:
        from sandbox.guest.language import restricted

        self.namespace.update(restricted.guards())
        self._builtins = self.namespace["__builtins__"]
        self._builtins["display"] = self._displays.display


def _complete_builtins() -> None:
    """Have what the `site` module would give. Its own `exit` closes standard input."""
    for name, function in (("exit", sys.exit), ("quit", sys.exit), ("help", _Helper())):
        setattr(builtins, name, function)
    sys.breakpointhook = library_changes.refuse_to_debug
    uncaught.install()


def _is_clean_exit(error: BaseException) -> bool:
    if not isinstance(error, SystemExit):
        return False
    return error.code is None or (type(error.code) in (int, bool) and not error.code)


def _exit_code(error: BaseException | None) -> int:
    """Return what a script would end with, as a shell sees it; -1 if `error` is no exit.

    -2 stands for a text, even "3": CPython writes it to stderr and ends with 1.
    """
    if not isinstance(error, SystemExit):
        return -1
    code = error.code
    if code is None:
        return 0
    if not isinstance(code, int):
        return -2
    number = int.__int__(code)  # A subclass of the guest's may have one of its own.
    # What no C long holds becomes -1.
    return (number if -(1 << 63) <= number < 1 << 63 else -1) & 0xFF


def _forget_half_imported() -> None:
    """Drop modules whose package is gone: an interrupted import could not be made again."""
    for name in list(sys.modules):
        package = name.rpartition(".")[0]
        if package and package not in sys.modules:
            del sys.modules[name]


def _end_child(error: BaseException | None) -> NoReturn:
    """End a process that the snippet forked and that ran off its end, as a script would end."""
    status = 0
    # Standard streams may be any object of the snippet's.
    with suppress(Exception):
        if isinstance(error, SystemExit):
            status = _exit_code(error)
            if status < 0:
                status = 1
                sys.stderr.write(f"{error.code}\n")
        elif error is not None:
            status = 1
            sys.stderr.write(tracebacks.describe(error).traceback)
    streams.flush()
    os._exit(status)
