"""`cellblock repl`: a session at the terminal. What the engine says stands apart from the guest's.

Ctrl-C ends the snippet that runs, or throws away the lines typed so far; Ctrl-D leaves.
"""

import ast
import codeop
import contextlib
import signal
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Final, NamedTuple

from runner.commands.printing import wording
from runner.commands.printing.displays import save, without_echo
from runner.commands.run import get, put
from runner.terminal import GuestWriter, escaped, one_line
from sandbox import (
    Cleared,
    Displayed,
    FileRefused,
    Finished,
    Outcome,
    Policy,
    Raised,
    Sandbox,
    Session,
    SessionError,
    Stderr,
    Stdout,
)

PROMPT: Final = ">>> "
CONTINUED: Final = "... "
DIM: Final = "\x1b[2m"
RESET: Final = "\x1b[0m"


class Command(NamedTuple):
    """What a line does that starts with `%`; `argument` names what follows it, if anything."""

    name: str
    argument: str
    help: str


COMMANDS: Final = (
    Command("%put", "PATH", "copy a file or directory of yours into the workspace"),
    Command("%get", "PATH", "copy a file of the workspace into this directory"),
    Command("%files", "", "list the files of the workspace"),
    Command("%help", "", "list these commands"),
)


def execute(policy: Policy, directory: str | None) -> int:
    """Read and run snippets until the end of the input; the exit status, always 0."""
    with contextlib.suppress(ImportError):
        import readline  # noqa: F401 - from now on, input() can be edited and repeated.
    with Sandbox(policy, pool_size=1) as box:
        Repl(box, Path(directory) if directory else None).run()
    return 0


class Repl:
    """One user at one terminal; a lost session is followed by a new one."""

    def __init__(self, box: Sandbox, directory: Path | None) -> None:
        self._box = box
        self._session: Session = box.session()
        self._directory = directory
        self._stdout = GuestWriter(sys.stdout, "plain")
        self._stderr = GuestWriter(sys.stderr, "plain")
        self._saved = 0
        self._was_interrupted = False
        self._is_complete = completeness()
        self._is_typed = sys.stdin.isatty()

    def run(self) -> None:
        """Until Ctrl-D."""
        limits = self._box.policy.limits
        self._say(
            f"{self._box.policy.tier}: {len(self._session.enforcement)} layers hold;"
            f" {limits.wall_s:g} s and {wording.size(limits.memory_bytes)} a snippet."
            " Ctrl-C interrupts, Ctrl-D leaves, %help lists more."
        )
        try:
            while (source := self._read()) is not None:
                if source.startswith("%"):
                    self._command(source)
                elif source.strip():
                    self._run_snippet(source)
        finally:
            self._session.close()

    def _read(self) -> str | None:
        """Return the next whole snippet or command; None at the end of the input."""
        lines: list[str] = []
        while True:
            try:
                prompt = (CONTINUED if lines else PROMPT) if self._is_typed else ""
                lines.append(input(prompt))
            except KeyboardInterrupt:
                lines.clear()
                self._stdout.write("\n")
                continue
            except EOFError:
                if self._is_typed:
                    self._stdout.write("\n")
                return "\n".join(lines) or None
            source = "\n".join(lines)
            if source.startswith("%") or self._is_complete(source):
                return source

    def _run_snippet(self, source: str) -> None:
        shown: list[Displayed] = []
        try:
            with self._interrupts_for_the_snippet():
                for event in self._session.stream(source):
                    match event:
                        case Stdout():
                            self._stdout.write(event.text)
                        case Stderr():
                            self._stderr.write(event.text)
                        case Displayed():
                            if event.replaces is None:
                                shown.append(event)
                            else:
                                shown[event.replaces] = event
                        case Cleared():
                            shown.clear()
                        case Finished():
                            self._tell(event.outcome, shown)
        except SessionError as error:
            self._begin_again(str(error))

    @contextlib.contextmanager
    def _interrupts_for_the_snippet(self) -> Iterator[None]:
        """Have Ctrl-C end the snippet that runs, and nothing here."""
        self._was_interrupted = False

        def pass_on(_number: int, _frame: FrameType | None) -> None:
            self._was_interrupted = True
            self._session.interrupt()

        before = signal.signal(signal.SIGINT, pass_on)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)

    def _tell(self, outcome: Outcome, shown: list[Displayed]) -> None:
        for display in without_echo(shown, outcome.text):
            self._stdout.write_line(display.bundle.get("text/plain", ""))
        if outcome.text is not None:
            self._stdout.write_line(outcome.text)
        if isinstance(outcome, Raised):
            self._stderr.write_line(outcome.error.traceback)
        self._end_line()
        for display in shown:
            self._save(display.bundle)
        for artifact in outcome.artifacts:
            size = f", {wording.size(artifact.size_bytes)}" if artifact.size_bytes else ""
            self._say(f"{artifact.change} {one_line(artifact.path)}{size}")
        for denial in outcome.denials:
            hint = f": {one_line(denial.hint)}" if denial.hint else ""
            self._say(f"{one_line(denial.layer)} refused {one_line(denial.tried)}{hint}")
        if self._was_interrupted:
            self._say(f"interrupted; {wording.state(outcome)}")
        elif outcome.status not in ("completed", "raised") or outcome.state != "kept":
            self._say(f"{wording.ending(outcome)}; {wording.state(outcome)}")
        if outcome.state == "lost":
            goes_on = "a new process goes on with the files"
            self._say(goes_on if outcome.files_left else "a new session was opened")

    def _begin_again(self, why: str) -> None:
        self._session.close()
        self._session = self._box.session()
        self._say(f"{escaped(why)} A new session was opened.")

    def _save(self, bundle: dict[str, str]) -> None:
        if self._directory is None:
            self._directory = Path(tempfile.mkdtemp(prefix="cellblock-repl-"))
        self._directory.mkdir(parents=True, exist_ok=True)
        path = save(bundle, self._directory, f"{self._saved + 1:03d}")
        if path is not None:
            self._saved += 1
            self._say(f"saved {path}")

    def _command(self, line: str) -> None:
        name, _, argument = line.partition(" ")
        argument = argument.strip()
        known = {command.name: command for command in COMMANDS}.get(name)
        if known is None or bool(known.argument) != bool(argument):
            name = "%help"
        actions: dict[str, Callable[[], object]] = {
            "%put": lambda: put(self._session, Path(argument)),
            "%get": lambda: get(self._session, argument),
            "%files": self._list_files,
            "%help": self._list_commands,
        }
        try:
            actions[name]()
        except SessionError as error:
            self._begin_again(str(error))
        except (FileRefused, OSError) as error:
            self._say(escaped(str(error)))

    def _list_files(self) -> None:
        for path in self._session.files():
            self._stdout.write_line(one_line(path))

    def _list_commands(self) -> None:
        for command in COMMANDS:
            self._say(f"{f'{command.name} {command.argument}':<11} {command.help}")

    def _end_line(self) -> None:
        """Have the engine's words and the prompt start on a line of their own."""
        for writer in (self._stdout, self._stderr):
            if not writer.is_at_line_start:
                writer.write("\n")

    @staticmethod
    def _say(words: str) -> None:
        """Say something of the engine's own; `words` are escaped already."""
        marked = f"{DIM}# {words}{RESET}" if sys.stderr.isatty() else f"# {words}"
        print(marked, file=sys.stderr, flush=True)


def completeness() -> Callable[[str], bool]:
    """Return a function that says whether a text is a whole snippet, or wants more lines.

    It compiles as the interactive interpreter does: a block ends with an empty line.
    """
    compiler = codeop.CommandCompiler()
    compiler.compiler.flags |= ast.PyCF_ALLOW_TOP_LEVEL_AWAIT

    def is_complete(source: str) -> bool:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                return compiler(source, "<snippet>", "single") is not None
            except (SyntaxError, ValueError, OverflowError, MemoryError, RecursionError):
                return True  # The guest's own traceback tells what is wrong.

    return is_complete
