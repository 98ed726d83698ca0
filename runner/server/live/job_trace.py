"""Job trace: the spans, counters and audit lines of one tool loop, made from its events."""

import time
from typing import TYPE_CHECKING

from runner.events import CallDone, CallRunning, Ended, LoopEvent, RoundBegan
from runner.server.http import tracing
from runner.server.http.metrics import Metrics
from runner.server.http.tracing import ATTRIBUTE_CHARS
from runner.server.live.observer import Observer
from runner.server.live.run_spans import NAMES_MOST, of_facts
from runner.transcript import CodeRun, Usage

if TYPE_CHECKING:
    from opentelemetry.trace import Span


class JobTrace:
    """`model` is the name that counts as label, `content` whether code may stand in a span."""

    def __init__(
        self,
        metrics: Metrics,
        observer: Observer,
        *,
        owner: str,
        model: str,
        content: bool,
    ) -> None:
        self._tracing = observer.tracing
        self._metrics = metrics
        self._observer = observer
        self._owner = owner
        self._model = model
        self._content = content
        self._round: Span | None = None
        self._round_began = 0.0
        self._call: Span | None = None
        self._before = Usage()

    def see(self, event: LoopEvent, usage: Usage, *, where: str) -> None:
        """Take an event of the loop; `usage` is of all rounds so far."""
        if isinstance(event, RoundBegan):
            self._end_round(usage)
            self._before = usage
            self._round_began = time.perf_counter()
            facts = {"gen_ai.operation.name": "chat", "gen_ai.request.model": self._model}
            self._round = self._tracing.child(f"chat {self._model}", facts, is_client=True)
        elif isinstance(event, CallRunning):
            self._end_round(usage)
            name = event.call.name[:NAMES_MOST]
            facts = {
                "gen_ai.operation.name": "execute_tool",
                "gen_ai.tool.name": name,
                "gen_ai.tool.type": "function",
                "gen_ai.tool.call.id": event.call.id[:NAMES_MOST],
            }
            if self._content:
                facts["gen_ai.tool.call.arguments"] = event.call.arguments[:ATTRIBUTE_CHARS]
            self._call = self._tracing.child(f"execute_tool {name}", facts)
        elif isinstance(event, CallDone):
            self._done(event, where)
        elif isinstance(event, Ended):
            self._end_round(usage)

    def close(self, error: str = "") -> None:
        """End what is open: the loop was left before its end."""
        tracing.finish(self._call, {}, error=error or "cancelled")
        tracing.finish(self._round, {}, error=error or "cancelled")
        self._call = self._round = None

    def _end_round(self, usage: Usage) -> None:
        if not self._round_began:
            return
        read = usage.input_tokens - self._before.input_tokens
        written = usage.output_tokens - self._before.output_tokens
        took_s = time.perf_counter() - self._round_began
        self._metrics.turned(self._model, took_s, read=read, written=written)
        self._round_began = 0.0
        facts = {"gen_ai.usage.input_tokens": read, "gen_ai.usage.output_tokens": written}
        tracing.finish(self._round, facts)
        self._round = None

    def _done(self, event: CallDone, where: str) -> None:
        run = event.result.details
        failed = "tool_error" if event.result.is_error else ""
        if isinstance(run, CodeRun):
            failed = "" if run.status == "completed" else run.status
            self._ran(run, where)
        tracing.finish(self._call, {}, error=failed)
        self._call = None

    def _ran(self, run: CodeRun, where: str) -> None:
        usage = run.more.get("usage")
        if usage is None and not run.code:
            return  # A call without code ran nothing.
        self._observer.noted(
            of_facts(run.status, usage, run.more.get("denials")),
            owner=self._owner,
            via="interpreter",
            where=where,
            code=run.code,
            parent=self._call,
        )
