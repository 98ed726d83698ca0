"""`cellblock chat`: the whole tool loop at the terminal, printed as it happens."""

import os
import sys
from contextlib import aclosing
from pathlib import Path

from runner.commands.options import ChatOptions
from runner.commands.printing.models_missing import NO_MODEL
from runner.commands.talk import JsonLines, Talk
from runner.config import ANY, Config
from runner.errors import RequestError
from runner.loop import Budget, Loop
from runner.models.directory import Directory
from runner.models.fallback import first_words, or_embedded
from runner.models.port import ModelRequest
from runner.tools.code_interpreter import CodeInterpreter
from runner.tools.one_session import ANOTHER, OneSession
from runner.transcript import (
    Entry,
    Instruction,
    Question,
    Transcript,
    Turn,
    transcript_from_json,
    transcript_to_json,
)
from sandbox import AsyncSandbox

EXIT_NO_MODEL, EXIT_UNFINISHED = 3, 1


async def execute(options: ChatOptions, *, models: Directory | None = None) -> int:
    """Ask; the exit status. Raises ConfigError, PolicyError, RunnerError, SandboxError.

    `models` stand in place of those of the config.
    """
    config = Config.load(options.config)
    directory = models or Directory(or_embedded(config.models))
    if directory.is_empty:
        print(NO_MODEL, file=sys.stderr)
        return EXIT_NO_MODEL
    if models is None and not config.models and (words := first_words()):
        print(f"{words}\n", file=sys.stderr)
    name = options.model or next(iter(directory.names), ANY)
    earlier = _read(options.session)
    has_run = any(isinstance(entry, Turn) and entry.calls for entry in earlier)
    box = AsyncSandbox(config.sandbox_policy(), pool_size=1)
    source = OneSession(box, words=ANOTHER if has_run else "")
    talk = JsonLines() if options.as_json else Talk(images=options.images)
    try:
        served = directory.find(name)
        for path in options.put:
            await source.put(path.name, path.read_bytes())
        entries = (*earlier, *_asked(options))
        tool = CodeInterpreter(
            source,
            shown_chars=served.profile.shown(config.server.shown_chars),
            retry_words=served.profile.retry_words,
        )
        loop = Loop(
            served.model,
            ModelRequest(entries=entries, model=name, thinking=True),
            [tool],
            budget=Budget(rounds=config.server.rounds, wall_s=config.server.wall_s),
            profile=served.profile,
        )
        async with aclosing(loop.run()) as events:
            async for event in events:
                talk.show(event)
        if options.session is not None:
            _write(options.session, (*entries, *loop.turns))
    finally:
        talk.close()
        await source.close()
        await box.close()
        await directory.close()
    return 0 if talk.is_answered else EXIT_UNFINISHED


def _asked(options: ChatOptions) -> tuple[Entry, ...]:
    """Return the question, and before it what was laid into the workspace for it."""
    question = Question(text=options.question)
    if not options.put:
        return (question,)
    names = ", ".join(path.name for path in options.put)
    return Instruction(text=f"Files in the current directory, from the user: {names}"), question


def _read(path: Path | None) -> Transcript:
    if path is None or not path.exists():
        return ()
    try:
        return transcript_from_json(path.read_bytes())
    except ValueError as error:
        message = f"{path.name} holds no conversation that this command wrote."
        raise RequestError("invalid", message) from error


def _write(path: Path, entries: Transcript) -> None:
    """Put `entries` in the place of what the file held: all of them, or it stays as it was."""
    fresh = path.with_name(f"{path.name}.{os.getpid()}")
    fresh.write_text(f"{transcript_to_json(entries)}\n", encoding="utf-8")
    os.replace(fresh, path)
