"""`cellblock chat` without a question: a conversation at the terminal.

The main thread reads lines, a second one runs the event loop: so a terminal's line editing and
Ctrl-C work as in a shell, and the session's processes are looked after while a user types. Ctrl-C
stops the answer that is being written, or throws away the lines typed so far; Ctrl-D leaves.
"""

import asyncio
import contextlib
import sys
import threading
from collections.abc import Coroutine, Iterator, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Final, NamedTuple, Protocol, TypeVar

from runner.commands.options import ChatOptions
from runner.commands.printing import wording
from runner.commands.run import write_here
from runner.commands.talk import JsonLines, Talk
from runner.commands.talking.conversation import Conversation
from runner.commands.talking.kept_talk import KeptTalk
from runner.errors import RunnerError
from runner.terminal import escaped, one_line
from sandbox import FileRefused, SandboxError

PROMPT, CONTINUED = "> ", ". "
BLOCK: Final = '"""'
DIM, RESET = "\x1b[2m", "\x1b[0m"
Value = TypeVar("Value")


class Command(NamedTuple):
    """What a line does that starts with `/`; `argument` names what follows it, if anything."""

    name: str
    argument: str
    help: str


COMMANDS: Final = (
    Command("/put", "PATH", "lay a file of yours into the workspace; the model is told of it"),
    Command("/get", "PATH", "copy a file of the workspace into this directory"),
    Command("/files", "", "list the files of the workspace"),
    Command("/plots", "", "list the images that were shown, where they were saved"),
    Command("/reset", "", "forget the conversation, its variables and its files"),
    Command("/help", "", "list these commands"),
    Command("/quit", "", "leave, as Ctrl-D does"),
)


class Opened(Protocol):
    """What begins a conversation and ends all that it holds."""

    async def begin(self) -> tuple[Conversation, KeptTalk]:
        """Lay out what the options name. Raises RunnerError, SandboxError."""
        ...

    async def close(self) -> None:
        """End the conversation's session, the sandbox and the models."""
        ...


class LoopThread:
    """An event loop in a thread of its own; the calling thread waits, and may be interrupted."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[object, object, Value]) -> Value:
        """Do `work` in the loop. Raises KeyboardInterrupt, once `work` was cancelled and ended."""
        begun: list[asyncio.Task[object]] = []

        async def tracked() -> Value:
            task = asyncio.current_task()
            assert task is not None
            begun.append(task)
            return await work

        try:
            # The interrupt may come before this thread knows of a future: the task does itself.
            return asyncio.run_coroutine_threadsafe(tracked(), self._loop).result()
        except KeyboardInterrupt:
            asyncio.run_coroutine_threadsafe(_ended(begun), self._loop).result()
            raise

    def close(self) -> None:
        """End the loop; what it was to do is done."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        self._loop.run_until_complete(self._loop.shutdown_default_executor())
        self._loop.close()


async def _ended(tasks: Sequence[asyncio.Task[object]]) -> None:
    """Cancel `tasks`, and wait until they are over."""
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks)


def execute(options: ChatOptions, opened: Opened) -> int:
    """Talk until the end of the input; the exit status. Raises RunnerError, SandboxError."""
    with contextlib.suppress(ImportError):
        import readline  # noqa: F401 - from now on, input() can be edited and repeated.
    loop = LoopThread()
    try:
        conversation, kept = loop.run(opened.begin())
        return ChatRepl(loop, conversation, kept, options).run()
    finally:
        try:
            loop.run(opened.close())
        finally:
            loop.close()


class ChatRepl:
    """One user at one terminal."""

    def __init__(
        self, loop: LoopThread, conversation: Conversation, kept: KeptTalk, options: ChatOptions
    ) -> None:
        self._loop = loop
        self._conversation = conversation
        self._kept = kept
        self._options = options
        self._talk = JsonLines() if options.as_json else Talk(images=options.images)
        self._is_typed = sys.stdin.isatty()

    def run(self) -> int:
        """Until Ctrl-D or `/quit`; 0."""
        said = len([one for one in self._conversation.entries if one.role == "user"])
        earlier = f" It goes on after {said} question{'' if said == 1 else 's'}." if said else ""
        self._say(
            f"A conversation; variables and files last.{earlier} {BLOCK} begins and ends more than"
            " one line, Ctrl-C stops an answer, Ctrl-D leaves, /help lists more."
        )
        for text in self._questions():
            if text.split()[0] in ("/quit", "/exit"):
                break
            try:
                self._command(text) if text.startswith("/") else self._ask(text)
            except KeyboardInterrupt:
                self._say("stopped; the conversation goes on")
        return 0

    def _questions(self) -> Iterator[str]:
        """Yield what the user types: questions and commands, none of them empty."""
        while (text := self._read()) is not None:
            if text.strip():
                yield text.strip()

    def _read(self) -> str | None:
        """Return the next question or command; None at the end of the input."""
        lines: list[str] = []
        while True:
            try:
                line = input((CONTINUED if lines else PROMPT) if self._is_typed else "")
            except KeyboardInterrupt:
                lines.clear()
                print()
                continue
            except EOFError:
                if self._is_typed:
                    print()
                return "\n".join(lines).replace(BLOCK, "") or None
            lines.append(line)
            text = "\n".join(lines)
            if text.lstrip().startswith(BLOCK):
                inside = text.lstrip().removeprefix(BLOCK)
                if BLOCK in inside:
                    return inside.replace(BLOCK, "", 1)
            elif line.endswith("\\"):
                lines[-1] = line[:-1]
            else:
                return text

    def _ask(self, question: str) -> None:
        try:
            self._loop.run(self._answer(question))
        except KeyboardInterrupt:
            self._talk.close()
            self._say("stopped; the conversation goes on")
        except (RunnerError, SandboxError) as error:
            self._talk.close()
            self._say(escaped(str(error)))
        self._keep()

    async def _answer(self, question: str) -> None:
        async with aclosing(self._conversation.ask(question)) as events:
            async for event in events:
                self._talk.show(event)

    def _keep(self) -> None:
        try:
            lost = self._loop.run(self._kept.write(self._conversation))
        except (OSError, SandboxError) as error:
            self._say(f"not kept: {escaped(str(error))}")
            return
        if lost:
            self._say(f"not kept with the conversation: {lost}")

    def _command(self, line: str) -> None:
        name, _, argument = line.partition(" ")
        argument = argument.strip()
        known = {command.name: command for command in COMMANDS}.get(name)
        if known is None or bool(known.argument) != bool(argument):
            name = "/help"
        actions = {
            "/put": lambda: self._put(Path(argument).expanduser()),
            "/get": lambda: self._get(argument),
            "/files": self._list_files,
            "/plots": self._list_plots,
            "/reset": self._reset,
            "/help": self._list_commands,
        }
        try:
            actions[name]()
        except (FileRefused, SandboxError, OSError) as error:
            self._say(escaped(str(error)))

    def _put(self, path: Path) -> None:
        data = path.read_bytes()
        self._loop.run(self._conversation.put(path.name, data))
        self._say(f"{one_line(path.name)}, {wording.size(len(data))}, is in the workspace")

    def _get(self, path: str) -> None:
        data = self._loop.run(self._conversation.get(path))
        name = Path(path).name
        write_here(name, data)
        self._say(f"{one_line(name)}, {wording.size(len(data))}, is in this directory")

    def _list_files(self) -> None:
        names = self._loop.run(self._conversation.files())
        for name in names:
            print(one_line(name))
        if not names:
            self._say("no files")

    def _list_plots(self) -> None:
        for path in self._talk.saved:
            print(path)
        if not self._talk.saved:
            self._say("no images were shown")

    def _reset(self) -> None:
        self._loop.run(self._conversation.reset())
        self._keep()
        self._say("all is forgotten: a new conversation, in a new session")

    def _list_commands(self) -> None:
        for command in COMMANDS:
            self._say(f"{f'{command.name} {command.argument}':<11} {command.help}")

    @staticmethod
    def _say(words: str) -> None:
        """Say something of the command's own; `words` are escaped already."""
        marked = f"{DIM}# {words}{RESET}" if sys.stderr.isatty() else f"# {words}"
        print(marked, file=sys.stderr, flush=True)
