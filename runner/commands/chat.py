"""`cellblock chat`: the whole tool loop at the terminal, printed as it happens."""

import asyncio
import sys
from collections.abc import Sequence
from contextlib import aclosing

from runner.commands.options import ChatOptions
from runner.commands.printing.models_missing import NO_MODEL
from runner.commands.talk import JsonLines, Talk
from runner.commands.talking.conversation import Conversation
from runner.commands.talking.kept_talk import KeptTalk
from runner.config import ANY, Config
from runner.errors import ConfigError
from runner.faces.mcp_functions import McpFunctions
from runner.models.directory import Directory
from runner.models.fallback import first_words, or_embedded
from sandbox import AsyncSandbox

EXIT_NO_MODEL, EXIT_UNFINISHED = 3, 1


async def execute(options: ChatOptions, *, models: Directory | None = None) -> int:
    """Ask; the exit status. Raises ConfigError, PolicyError, RunnerError, SandboxError.

    `models` stand in place of those of the config.
    """
    opened = OpenedChat(options, models)
    if opened.has_no_model:
        print(NO_MODEL, file=sys.stderr)
        return EXIT_NO_MODEL
    talk = JsonLines() if options.as_json else Talk(images=options.images)
    try:
        conversation, kept = await opened.begin()
        async with aclosing(conversation.ask(options.question)) as events:
            async for event in events:
                talk.show(event)
        if lost := await kept.write(conversation):
            print(f"cellblock: not kept with the conversation: {lost}", file=sys.stderr)
    finally:
        talk.close()
        await opened.close()
    return 0 if talk.is_answered else EXIT_UNFINISHED


def converse(options: ChatOptions, *, models: Directory | None = None) -> int:
    """Talk at the terminal; the exit status. Raises as `execute`."""
    from runner.commands.talking import chat_repl

    opened = OpenedChat(options, models)
    if opened.has_no_model:
        print(NO_MODEL, file=sys.stderr)
        return EXIT_NO_MODEL
    return chat_repl.execute(options, opened)


class OpenedChat:
    """What a conversation stands on: models, a sandbox, files of the user."""

    def __init__(self, options: ChatOptions, models: Directory | None) -> None:
        self._options = options
        self._config = Config.load(options.config)
        self._directory = models or Directory(or_embedded(self._config.models))
        if models is None and not self._config.models and not self.has_no_model:
            _check_name(options.model, self._directory.names)
        self._box: AsyncSandbox | None = None
        self._functions: McpFunctions | None = None
        self._conversation: Conversation | None = None
        is_embedded = models is None and not self._config.models and not self.has_no_model
        if is_embedded and (words := first_words()):
            print(f"{words}\n", file=sys.stderr)

    @property
    def has_no_model(self) -> bool:
        """Whether there is nothing to talk to."""
        return self._directory.is_empty

    async def begin(self) -> tuple[Conversation, KeptTalk]:
        """Lay out what the options name. Raises RunnerError, SandboxError."""
        options, directory = self._options, self._directory
        name = options.model or next(iter(directory.names), ANY)
        served = directory.find(name)
        kept = KeptTalk(options.session)
        earlier = kept.read()
        self._functions = await asyncio.to_thread(McpFunctions, self._config.mcp)
        self._box = AsyncSandbox(
            self._config.sandbox_policy(), pool_size=1, tools=self._functions.functions
        )
        self._conversation = Conversation(
            self._box,
            served,
            self._config.server,
            model=name,
            earlier=earlier.entries,
            functions=self._functions.described,
        )
        await self._conversation.bring_back(earlier.files, not_kept=earlier.not_kept)
        for path in options.put:
            await self._conversation.put(path.name, path.read_bytes())
        return self._conversation, kept

    async def close(self) -> None:
        """End the conversation's session, the sandbox and the models."""
        if self._conversation is not None:
            await self._conversation.close()
        if self._box is not None:
            await self._box.close()
        if self._functions is not None:
            await asyncio.to_thread(self._functions.close)
        await self._directory.close()


def _check_name(name: str, names: Sequence[str]) -> None:
    """Raise ConfigError for the name of a model that is not the one which would answer."""
    if name and name not in names:
        shown = " or ".join(names)
        raise ConfigError(
            f"--model {name}",
            f"no config names a model, and {shown} would answer in its place",
            f"Name {shown}, or set [models.{name}] in a config: cellblock serve --print-config",
        )
