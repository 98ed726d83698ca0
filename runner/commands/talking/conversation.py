"""A conversation with one model and one session: what was said so far, and what it works with."""

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Final

from runner.commands.talking.laid_files import words_for
from runner.config import ServerSettings
from runner.errors import UpstreamError
from runner.events import LoopEvent
from runner.loop import Budget, Loop
from runner.models.directory import Served
from runner.models.port import ModelRequest
from runner.terminal import one_line
from runner.tools.code_interpreter import CodeInterpreter
from runner.tools.one_session import ANOTHER, OneSession
from runner.transcript import Entry, Instruction, Question, Transcript, Turn
from sandbox import AsyncSandbox

STOPPED: Final = "(The user stopped this before it was finished.)"
FILES_NAMED: Final = 30
ENDED: Final = (
    "The earlier session has ended, and its variables and imports with it; this is a new one."
)


class Conversation:
    """Questions of one user, one after the other; variables and files last between them."""

    def __init__(
        self,
        box: AsyncSandbox,
        served: Served,
        settings: ServerSettings,
        *,
        model: str,
        earlier: Transcript = (),
        functions: str = "",
    ) -> None:
        """`functions` tells the model of those that its code may call."""
        self._functions = functions
        self._box = box
        self._served = served
        self._settings = settings
        self._model = model
        self._entries = earlier
        self._laid: dict[str, bytes] = {}
        self._notes: list[str] = []
        has_run = any(isinstance(entry, Turn) and entry.calls for entry in earlier)
        self._source = OneSession(box, words=ANOTHER if has_run else "")

    @property
    def entries(self) -> Transcript:
        """All that was said so far."""
        return self._entries

    async def put(self, name: str, data: bytes) -> None:
        """Lay a file into the workspace; the model learns of it with the next question."""
        await self._source.put(name, data)
        self._laid[name] = data

    async def bring_back(self, files: Mapping[str, bytes], *, not_kept: str = "") -> None:
        """Lay the files of an earlier session into the workspace.

        The model learns of it with the next question, and of files that were `not_kept`.
        """
        for name, data in files.items():
            await self._source.put(name, data)
        if files or not_kept:
            lost = f" Files that are gone: {not_kept}." if not_kept else ""
            words = f"{ENDED} Files that are still there: {_named(files)}.{lost}"
            self._source.tell(words)
            self._notes.append(words)

    async def files(self) -> list[str]:
        """List the paths of the files in the workspace."""
        return await self._source.files()

    async def get(self, path: str) -> bytes:
        """Return the content of a file of the workspace. Raises FileRefused."""
        return await self._source.get(path)

    async def reset(self) -> None:
        """Forget what was said, and end the session with its variables and files."""
        await self._source.close()
        self._source = OneSession(self._box)
        self._entries = ()
        self._laid, self._notes = {}, []

    async def ask(self, question: str) -> AsyncGenerator[LoopEvent, None]:
        """Have a question answered: the loop's events. Raises RunnerError, SandboxError.

        Closed before its end it is a question that the user stopped, and the conversation says so.
        """
        told = [*self._notes, *([words_for(self._laid)] if self._laid else [])]
        asked: tuple[Entry, ...] = (
            *(Instruction(text=words) for words in told),
            Question(text=question),
        )
        profile = self._served.profile
        tool = CodeInterpreter(
            self._source,
            shown_chars=profile.shown(self._settings.shown_chars),
            retry_words=profile.retry_words,
            functions=self._functions,
        )
        loop = Loop(
            self._served.model,
            ModelRequest(entries=(*self._entries, *asked), model=self._model, thinking=True),
            [tool],
            budget=Budget(rounds=self._settings.rounds, wall_s=self._settings.wall_s),
            profile=profile,
        )
        is_over = False
        try:
            async with aclosing(loop.run()) as events:
                async for event in events:
                    yield event
            is_over = True
        except UpstreamError:
            # Nothing is kept of a question that had no answer, so that it can be asked again.
            if not loop.turns:
                asked = ()
            raise
        finally:
            if asked:
                self._keep(asked, loop.turns, is_over=is_over)

    def _keep(self, asked: Transcript, turns: tuple[Turn, ...], *, is_over: bool) -> None:
        # A model must not meet a question right after another, nor after a call's result.
        stopped = () if is_over else (Turn(text=STOPPED),)
        self._entries = (*self._entries, *asked, *turns, *stopped)
        self._laid, self._notes = {}, []

    async def close(self) -> None:
        """End the session."""
        await self._source.close()


def _named(files: Mapping[str, bytes]) -> str:
    names = list(map(one_line, files))
    more = f" and {len(names) - FILES_NAMED} more" if len(names) > FILES_NAMED else ""
    return (", ".join(names[:FILES_NAMED]) or "none") + more
