"""Contexts: several interpreter states over the files of one sandbox, one of which is in place.

A context that is left is a checkpoint of the session, and entering one is a rollback to it. So
each has variables, imports, environment and working directory of its own, and all have the same
files and commands. One runs at a time.
"""

import asyncio
import uuid
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager

from runner.errors import RequestError
from runner.server.e2b.forms import NotDone
from sandbox import AsyncSession, Checkpoint, CheckpointDropped, CopyRefused, Outcome

HOME = "/home/user"
GO_HOME = f"""\
(lambda os: (
    os.chdir({HOME!r} if os.path.isdir({HOME!r}) else os.path.expanduser("~")),
    print({HOME!r} if os.path.isdir({HOME!r}) else os.getcwd()),
) and None)(__import__("os"))
"""
FIGURE_DATA = "CELLBLOCK_FIGURE_DATA"
"""Asks for what a figure was drawn from, beside its picture."""
MOST = 6
"""Each that is not in place is a checkpoint, of which a session keeps eight."""
LANGUAGES = frozenset({"", "python"})
NO_LANGUAGE = (
    "Code of a sandbox here is Python; {language!r} has no kernel. Programs run by commands.run()."
)
NO_BLANK = (
    "This sandbox can have no new context: the state before its first code is not at hand ({why})."
)


class Context:
    """One interpreter state."""

    def __init__(self, cwd: str) -> None:
        self.id = str(uuid.uuid4())
        self.cwd = cwd
        self.count = 0
        """How many snippets of a client it has run."""
        self.mark: Checkpoint | None = None
        """What it is while another is in place; None for one that begins from nothing."""

    def json(self) -> dict[str, str]:
        """Return the context as its client sees it."""
        return {"id": self.id, "language": "python", "cwd": self.cwd}


class Contexts:
    """The contexts of one session; `default` is the one that code runs in by itself."""

    def __init__(self, session: AsyncSession, envs: Mapping[str, str]) -> None:
        self._session = session
        self._envs = envs
        self._lock = asyncio.Lock()
        self._blank: Checkpoint | None = None
        self._why_not = "it was never kept"
        self._is_ready = False
        self._home = HOME
        self.default = Context(HOME)
        self._active = self.default
        self._all = {self.default.id: self.default}

    async def begin(self) -> str:
        """Prepare the session for its first snippet; where its home directory is.

        Raises NotDone, SandboxError.
        """
        await self._set_up(self.default)
        return self._home

    async def go_on_from(self, source: "Contexts") -> str:
        """Be what is in place in `source`: the session is a branch of its session.

        Returns where the home directory is. Variables of the environment are those that its own
        client asks for. Raises SandboxError.
        """
        self.default.cwd, self.default.count = source._active.cwd, source._active.count
        self._is_ready = True
        self._why_not = "it is a fork, which goes on from where its source was"
        if self._envs != source._envs:
            variables = dict(self._envs)
            await self._session.run(f"__import__('os').environ.update({variables!r})")
        if source._home != HOME:
            # Without namespaces a branch has its own place on the disk.
            await self._go_home()
        return self._home

    def list(self) -> list[Context]:
        """All contexts, oldest first."""
        return list(self._all.values())

    def find(self, context_id: str) -> Context:
        """The context of that id, the default one without. Raises RequestError."""
        if not context_id:
            return self.default
        found = self._all.get(context_id)
        if found is None:
            raise RequestError("not_found", f"Context {context_id[:100]} not found")
        return found

    @asynccontextmanager
    async def entered(self, context: Context) -> AsyncGenerator[None, None]:
        """Have `context` in place while the block lasts; others wait. Raises RequestError."""
        async with self._lock:
            await self._enter(context)
            yield

    async def add(self, cwd: str) -> Context:
        """Make a context that begins in `cwd`. Raises RequestError, NotDone."""
        if len(self._all) >= MOST:
            message = f"A sandbox may have {MOST} contexts: remove one."
            raise RequestError("conflict", message)
        async with self._lock:
            made = Context(cwd)
            await self._enter(made)
            self._all[made.id] = made
            return made

    async def remove(self, context: Context) -> None:
        """Forget a context with its variables. Raises RequestError."""
        async with self._lock:
            if self._active is context:
                await self._restart(context)
                self._active = Context(context.cwd)
            await self._let_go(context)
            del self._all[context.id]
            if context is self.default:
                self.default = Context(HOME)
                self._all[self.default.id] = self.default

    async def restart(self, context: Context) -> None:
        """Let a context begin anew. Raises RequestError."""
        async with self._lock:
            await self._restart(context)

    def note(self, outcome: Outcome) -> None:
        """Take note of how a snippet ended: of a process that is lost, nothing is left."""
        if outcome.state != "lost":
            return
        self._is_ready = False
        self._blank = None
        self._why_not = "its process ended"
        for context in self._all.values():
            context.mark = None

    async def _enter(self, context: Context) -> None:
        if not self._is_ready:
            await self._set_up(context)
            self._active = context
            return
        if context is self._active:
            return
        is_new, target = context.mark is None, context.mark or self._blank
        if target is None:
            raise NotDone(NO_BLANK.format(why=self._why_not))
        try:
            mark = await self._session.checkpoint()
            await self._let_go(self._active)
            self._active.mark = mark
            await self._session.rollback(target)
        except CopyRefused as error:
            message = f"The context that ran last cannot be left: {error}"
            raise RequestError("copy_refused", message) from error
        except CheckpointDropped as error:
            context.mark = None
            message = f"The variables of context {context.id} are gone: {error}"
            raise RequestError("checkpoint_dropped", message) from error
        self._active = context
        if is_new:
            await self._place(context)

    async def _restart(self, context: Context) -> None:
        if context is self._active and self._is_ready:
            if self._blank is None:
                raise NotDone(NO_BLANK.format(why=self._why_not))
            await self._session.rollback(self._blank)
            await self._place(context)
        await self._let_go(context)
        context.count = 0

    async def _let_go(self, context: Context) -> None:
        mark, context.mark = context.mark, None
        if mark is not None:
            await self._session.drop(mark)

    async def _set_up(self, context: Context) -> None:
        """Prepare a process in which nothing ran, and keep it as it is."""
        await self._go_home()
        variables = {"PWD": self._home, FIGURE_DATA: "1", **self._envs}
        await self._session.run(f"__import__('os').environ.update({variables!r})")
        try:
            self._blank = await self._session.checkpoint()
        except CopyRefused as error:
            self._why_not = str(error)
        self._is_ready = True
        if context.cwd != HOME:
            await self._place(context)

    async def _go_home(self) -> None:
        """Be in the home directory, which without namespaces is not at its usual place."""
        outcome = await self._session.run(GO_HOME)
        if outcome.status != "completed":
            raise NotDone(
                "The policy of this server keeps code from `os`, which a sandbox needs to begin:"
                f" {outcome.for_model(max_chars=300)}"
            )
        self._home = outcome.stdout.strip() or HOME

    async def _place(self, context: Context) -> None:
        """Go where a context begins. Raises RequestError."""
        is_home = context.cwd == HOME or context.cwd.startswith(HOME + "/")
        cwd = self._home + context.cwd[len(HOME) :] if is_home else context.cwd
        code = f"__import__('os').chdir({cwd!r})\n__import__('os').environ.update(PWD={cwd!r})"
        outcome = await self._session.run(code)
        if outcome.status != "completed":
            why = outcome.error.message if outcome.status == "raised" else outcome.status
            raise RequestError("invalid", f"Failed to set working directory: {why}")
