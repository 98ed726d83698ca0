"""Observer: what is counted and written down of every piece of code that the server runs."""

import logging
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from runner.server.http import logs
from runner.server.http.metrics import Metrics
from runner.server.http.tracing import Tracing
from runner.server.live.audit_log import AuditLog
from runner.server.live.run_spans import EndedRun, add_spans, of_outcome
from sandbox import ExecResult, Outcome

if TYPE_CHECKING:
    from opentelemetry.trace import Span

Via = Literal["interpreter", "session", "program", "command"]
REMEMBERED = 4096
"""Sessions whose totals are kept; the one that ran longest ago is forgotten first."""


@dataclass(slots=True)
class Totals:
    """What a session's code has spent until now."""

    runs: int = 0
    cpu_s: float = 0.0
    peak_memory_bytes: int = 0
    last_status: str = ""


class Observer:
    """Takes each run once, when it has ended. `content`: whether spans may say what code tried."""

    def __init__(
        self,
        metrics: Metrics,
        audit: AuditLog | None = None,
        tracing: Tracing | None = None,
        *,
        content: bool = False,
    ) -> None:
        self._metrics = metrics
        self._content = content
        self.tracing = tracing or Tracing()
        self.problems: dict[str, str] = {}
        """What keeps the server from its work, by its part; for /readyz, so without details."""
        self._audit = audit
        self._totals: OrderedDict[str, Totals] = OrderedDict()

    def ran(self, outcome: Outcome, *, owner: str, via: Via, where: str, code: str) -> None:
        """Note the end of a snippet in session or container `where`, or of a program."""
        self.noted(of_outcome(outcome), owner=owner, via=via, where=where, code=code)

    def commanded(self, done: ExecResult, *, owner: str, where: str, command: str) -> None:
        """Note the end of a command in session `where`."""
        status = "completed" if done.exit_code == 0 else done.limit or "raised"
        run = EndedRun(status, done.usage)
        self.noted(run, owner=owner, via="command", where=where, code=command)

    def noted(
        self,
        run: EndedRun,
        *,
        owner: str,
        via: Via,
        where: str,
        code: str,
        parent: "Span | None" = None,
    ) -> None:
        """Note the end of a run; its span is below `parent`, or below the request's."""
        usage = run.usage
        self._metrics.ran(via, run.status, usage, [one.layer for one in run.refusals])
        add_spans(self.tracing, via, run, content=self._content, parent=parent)
        if where:
            totals = self._totals.pop(where, None) or Totals()
            totals.runs += 1
            totals.last_status = run.status
            if usage is not None:
                totals.cpu_s += usage.cpu_user_s + usage.cpu_system_s
                totals.peak_memory_bytes = max(totals.peak_memory_bytes, usage.peak_memory_bytes)
            self._totals[where] = totals
            if len(self._totals) > REMEMBERED:
                self._totals.popitem(last=False)
        if self._audit is not None:
            try:
                self._audit.ran(owner=owner, via=via, where=where, code=code, status=run.status)
            except OSError as error:
                self._audit_failed(error)

    def ended_by_operator(self, *, owner: str, where: str) -> None:
        """Note that `owner`, an operator, ended a session."""
        if self._audit is not None:
            try:
                self._audit.acted("session_killed", owner=owner, where=where)
            except OSError as error:
                self._audit_failed(error)

    def totals(self, where: str) -> Totals:
        """What the code of a session has spent."""
        return self._totals.get(where) or Totals()

    def close(self) -> None:
        """Send the last spans and times, close the audit log; it may wait for the network."""
        self.tracing.close()
        self._metrics.meters.close()
        if self._audit is not None:
            self._audit.close()

    def _audit_failed(self, error: OSError) -> None:
        self._metrics.audit_failures.inc()
        logs.write("audit_failed", logging.ERROR, error=error.strerror or str(error))
