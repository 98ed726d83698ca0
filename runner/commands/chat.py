"""`cellblock chat`: the whole tool loop at the terminal, printed as it happens."""

import asyncio
import base64
import json
import sys
import tempfile
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.syntax import Syntax

from runner.commands.models_missing import NO_MODEL
from runner.config import ANY, Config
from runner.errors import RequestError
from runner.events import CallDone, CallRunning, Ended, LoopEvent, Said, Thought
from runner.loop import Budget, Loop
from runner.models.directory import Directory
from runner.models.port import ModelRequest
from runner.terminal import escaped
from runner.tools.arguments import read
from runner.tools.code_interpreter import CodeInterpreter
from runner.tools.one_session import OneSession
from runner.transcript import (
    CodeRun,
    Question,
    Transcript,
    transcript_from_json,
    transcript_to_json,
)
from sandbox import AsyncSandbox

EXIT_NO_MODEL, EXIT_UNFINISHED = 3, 1
ENDINGS = {
    "length": "The answer was cut: the model reached its limit of tokens.",
    "tokens": "The answer was cut: the budget of tokens is spent.",
    "rounds": "The model still wanted to run code after its last round.",
    "calls": "The budget of tool calls is spent.",
    "filter": "The model's endpoint withheld the answer.",
    "deadline": "The time was over before there was an answer.",
}


@dataclass(frozen=True)
class Order:
    """What the command line asks for. `session` names a file that a conversation goes on in."""

    question: str
    config: Path | None = None
    model: str = ""
    session: Path | None = None
    put: tuple[Path, ...] = ()
    images: Path | None = None
    as_json: bool = False


def execute(order: Order) -> int:
    """Ask; the exit status. Raises ConfigError, PolicyError, RunnerError, SandboxError."""
    return asyncio.run(_chat(order))


async def _chat(order: Order) -> int:
    config = Config.load(order.config)
    directory = Directory(config.models)
    if directory.is_empty:
        print(NO_MODEL, file=sys.stderr)
        return EXIT_NO_MODEL
    name = order.model or next(iter(directory.names), ANY)
    earlier = _read(order.session)
    box = AsyncSandbox(config.sandbox_policy(), pool_size=1)
    source = OneSession(box)
    printer = Printer(order)
    try:
        served = directory.find(name)
        for path in order.put:
            session, _ = await source.session()
            await session.put(path.name, path.read_bytes())
        entries = (*earlier, Question(text=order.question))
        tool = CodeInterpreter(
            source,
            shown_chars=config.server.shown_chars,
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
                printer.show(event)
        if order.session is not None:
            order.session.write_text(transcript_to_json((*entries, *loop.turns)) + "\n")
    finally:
        await source.close()
        await box.close()
        await directory.close()
    return printer.status


def _read(path: Path | None) -> Transcript:
    if path is None or not path.exists():
        return ()
    try:
        return transcript_from_json(path.read_bytes())
    except ValueError as error:
        message = f"{path.name} holds no conversation that this command wrote."
        raise RequestError("invalid", message) from error


class Printer:
    """Prints events for a reader, or one JSON object a line; images become files."""

    def __init__(self, order: Order) -> None:
        self._as_json = order.as_json
        self._directory = order.images
        self._console = Console(file=sys.stdout, highlight=False, soft_wrap=True)
        self._part = ""
        self._images = 0
        self.status = 0

    def show(self, event: LoopEvent) -> None:
        """Print one event."""
        if self._as_json:
            self._show_json(event)
        elif isinstance(event, Thought):
            self._begin("thinking")
            self._console.print(escaped(event.text), end="", style="dim italic", markup=False)
        elif isinstance(event, Said):
            self._begin("answer")
            self._console.print(escaped(event.text), end="", markup=False)
        elif isinstance(event, CallRunning):
            self._begin("code")
            code = read(event.call.arguments, main="code").values.get("code", "")
            text = escaped(code if isinstance(code, str) else "")
            self._console.print(Syntax(text, "python", background_color="default"))
        elif isinstance(event, CallDone):
            self._begin("output")
            self._show_result(event)
        if isinstance(event, Ended):
            self._finish(event)

    def _show_result(self, event: CallDone) -> None:
        details = event.result.details
        if not isinstance(details, CodeRun):
            self._console.print(escaped(event.result.shown), markup=False)
            return
        if details.logs:
            self._console.print(escaped(details.logs.removesuffix("\n")), markup=False)
        for image in details.images:
            self._console.print(f"[image saved to {self._save(image)}]", markup=False)
        for made in details.files:
            self._console.print(f"[file made: /mnt/data/{escaped(made.path)}]", markup=False)

    def _save(self, image: str) -> Path:
        if self._directory is None:
            self._directory = Path(tempfile.mkdtemp(prefix="cellblock-chat-"))
        self._directory.mkdir(parents=True, exist_ok=True)
        self._images += 1
        head, _, data = image.partition(";base64,")
        kind = head.partition("/")[2].partition("+")[0] or "png"
        path = self._directory / f"image-{self._images}.{kind}"
        path.write_bytes(base64.b64decode(data))
        return path

    def _begin(self, part: str) -> None:
        if part != self._part or part in ("code", "output"):
            if self._part:
                self._console.print()
            self._console.print(part, style="bold")
        self._part = part

    def _finish(self, event: Ended) -> None:
        self.status = 0 if event.ending == "answered" else EXIT_UNFINISHED
        if self._as_json:
            return
        usage, calls = event.usage, sum(event.counts.values())
        self._console.print()
        if event.ending in ENDINGS:
            self._console.print(ENDINGS[event.ending], style="bold")
        self._console.print(
            f"{usage.input_tokens} tokens in, {usage.output_tokens} out"
            f" ({usage.reasoning_tokens} of them thinking), {calls} runs of code",
            style="dim",
        )

    def _show_json(self, event: LoopEvent) -> None:
        data: dict[str, object]
        if isinstance(event, Thought | Said):
            data = {"text": event.text}
        elif isinstance(event, CallRunning):
            data = {"call": event.call.model_dump(mode="json")}
        elif isinstance(event, CallDone):
            data = {"result": event.result.model_dump(mode="json")}
        elif isinstance(event, Ended):
            data = {
                "ending": event.ending,
                "usage": event.usage.model_dump(mode="json"),
                "counts": dict(event.counts),
                "text": event.turns[-1].text if event.turns else "",
            }
        else:
            return
        name = {Thought: "thinking", Said: "answer", CallRunning: "code", CallDone: "output"}
        line = {"event": name.get(type(event), "end"), **data}
        print(json.dumps(line, ensure_ascii=False), flush=True)
