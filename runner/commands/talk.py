"""A conversation shown as it happens: for a reader at a terminal, or as JSON lines."""

import base64
import json
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.status import Status
from rich.syntax import Syntax

from runner.events import (
    CallBegan,
    CallDone,
    CallRunning,
    Ended,
    LoopEvent,
    ReasoningDelta,
    RoundBegan,
    TextDelta,
)
from runner.terminal import escaped
from runner.tools.arguments import read
from runner.transcript import CodeRun

ENDINGS = {
    "length": "The answer was cut: the model reached its limit of tokens.",
    "tokens": "The answer was cut: the budget of tokens is spent.",
    "rounds": "The model still wanted to run code after its last round.",
    "calls": "The budget of tool calls is spent.",
    "filter": "The model's endpoint withheld the answer.",
    "deadline": "The time was over before there was an answer.",
}

NAMES = {ReasoningDelta: "thinking", TextDelta: "answer", CallRunning: "code", CallDone: "output"}


class Talk:
    """Prints thinking, code, output, the answer and the bill; images become files.

    While nothing comes, a terminal shows what is waited for.
    """

    def __init__(self, *, images: Path | None = None, console: Console | None = None) -> None:
        self._directory = images
        self._console = console or Console(
            file=sys.stdout, highlight=False, emoji=False, soft_wrap=True
        )
        self._waiting: Status | None = None
        self._part = ""
        self._is_open = False
        self.saved: list[Path] = []
        """Images so far, in their order."""
        self.is_answered = False

    def show(self, event: LoopEvent) -> None:
        """Print one event."""
        if isinstance(event, RoundBegan):
            if event.number == 1:
                self._part = ""
            self._wait("waiting for the model")
        elif isinstance(event, CallBegan):
            self._wait("the model writes code")
        elif isinstance(event, ReasoningDelta):
            self._begin("thinking")
            self._write(event.text, style="dim italic")
        elif isinstance(event, TextDelta):
            self._begin("answer")
            self._write(event.text)
        elif isinstance(event, CallRunning):
            self._begin("code")
            code = read(event.call.arguments, main="code").values.get("code", "")
            text = escaped(code if isinstance(code, str) else event.call.arguments)
            self._console.print(Syntax(text, "python", background_color="default"))
            self._wait("the code runs")
        elif isinstance(event, CallDone):
            self._begin("output")
            self._show_result(event)
        elif isinstance(event, Ended):
            self._finish(event)

    def close(self) -> None:
        """Close it: nothing more comes, for whatever reason."""
        self._stop_waiting()
        if self._is_open:
            self._console.print()
            self._is_open = False

    def _show_result(self, event: CallDone) -> None:
        details = event.result.details
        if not isinstance(details, CodeRun):
            self._line(event.result.shown)
            return
        if details.logs:
            self._line(details.logs.removesuffix("\n"))
        for image in details.images:
            self._line(f"[image saved to {self._save(image)}]")
        for made in details.files:
            self._line(f"[file made: /mnt/data/{made.path}]")
        if not (details.logs or details.images or details.files):
            self._line("[nothing was printed]")

    def _save(self, image: str) -> Path:
        if self._directory is None:
            self._directory = Path(tempfile.mkdtemp(prefix="cellblock-chat-"))
        self._directory.mkdir(parents=True, exist_ok=True)
        head, _, data = image.partition(";base64,")
        kind = head.partition("/")[2].partition("+")[0] or "png"
        path = self._directory / f"image-{len(self.saved) + 1}.{kind}"
        path.write_bytes(base64.b64decode(data))
        self.saved.append(path)
        return path

    def _finish(self, event: Ended) -> None:
        self.is_answered = event.ending == "answered"
        self.close()
        usage, calls = event.usage, sum(event.counts.values())
        self._console.print()
        if event.ending in ENDINGS:
            self._console.print(ENDINGS[event.ending], style="bold")
        thinking = f" ({usage.reasoning_tokens} of them thinking)" if usage.reasoning_tokens else ""
        self._console.print(
            f"{usage.input_tokens} tokens in, {usage.output_tokens} out{thinking},"
            f" {calls} run{'' if calls == 1 else 's'} of code",
            style="dim",
        )

    def _begin(self, part: str) -> None:
        self._stop_waiting()
        if part == self._part and self._is_open:
            return
        self.close()
        if self._part:
            self._console.print()
        self._console.print(part, style="bold")
        self._part = part

    def _write(self, text: str, *, style: str = "") -> None:
        """Return a piece of a text whose end is still to come."""
        self._console.print(escaped(text), end="", style=style, markup=False)
        self._is_open = True

    def _line(self, text: str) -> None:
        self._console.print(escaped(text), markup=False)

    def _wait(self, what: str) -> None:
        if not self._console.is_terminal:
            return
        if self._is_open:
            self.close()
        if self._waiting is None:
            self._waiting = self._console.status(what)
            self._waiting.start()
        self._waiting.update(what)

    def _stop_waiting(self) -> None:
        if self._waiting is not None:
            self._waiting.stop()
            self._waiting = None


class JsonLines:
    """Writes each event as one JSON object on a line of its own; images stay in the results."""

    saved: tuple[Path, ...] = ()

    def __init__(self) -> None:
        self.is_answered = False

    def show(self, event: LoopEvent) -> None:
        """Write one event."""
        data: dict[str, object]
        if isinstance(event, ReasoningDelta | TextDelta):
            data = {"text": event.text}
        elif isinstance(event, CallRunning):
            data = {"call": event.call.model_dump(mode="json")}
        elif isinstance(event, CallDone):
            data = {"result": event.result.model_dump(mode="json")}
        elif isinstance(event, Ended):
            self.is_answered = event.ending == "answered"
            data = {
                "ending": event.ending,
                "usage": event.usage.model_dump(mode="json"),
                "counts": dict(event.counts),
                "text": event.turns[-1].text if event.turns else "",
            }
        else:
            return
        line = {"event": NAMES.get(type(event), "end"), **data}
        print(json.dumps(line, ensure_ascii=False), flush=True)

    def close(self) -> None:
        """Close it: nothing more comes, for whatever reason."""
