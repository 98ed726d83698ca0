"""Spans of code that has run: the run, its refusals, and the host's functions that it called.

They are made when the run is over and all is known, with the times that it had.
"""

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from runner.server.http.tracing import ATTRIBUTE_CHARS, Tracing, finish
from sandbox import HostCall, Outcome, Usage

if TYPE_CHECKING:
    from opentelemetry.trace import Span

REFUSALS_MOST = 20
CALLS_MOST = 50
NAMES_MOST = 200
SECOND_NS = 1_000_000_000


class Refusal(NamedTuple):
    """What a layer refused, and how often."""

    layer: str
    tried: str
    rule: str
    times: int


class EndedRun(NamedTuple):
    """What is known of a snippet, a program or a command that has ended."""

    status: str
    usage: Usage | None = None
    refusals: Sequence[Refusal] = ()
    calls: Sequence[HostCall] = ()


def of_outcome(outcome: Outcome) -> EndedRun:
    """An outcome of the engine."""
    refusals = [Refusal(one.layer, one.tried, one.rule, one.count) for one in outcome.denials]
    return EndedRun(outcome.status, outcome.usage, refusals, outcome.tool_calls)


def add_spans(
    tracing: Tracing, via: str, run: EndedRun, *, content: bool, parent: "Span | None" = None
) -> None:
    """Make the spans of `run`, which ended now; what was tried and asked only with `content`."""
    if tracing.tracer is None:
        return
    ended_ns = time.time_ns()
    # The clock of `wall_s` stands still while a function of the host works.
    calls_ns = (_ns(call.began_s) + _ns(call.wall_s) for call in run.calls)
    wall_ns = _ns(run.usage.wall_s if run.usage is not None else 0.0)
    began_ns = ended_ns - max(wall_ns, *calls_ns, 0)
    facts: dict[str, Any] = {"cellblock.via": via, "cellblock.status": run.status}
    if run.usage is not None:
        facts |= {
            "cellblock.wall_s": run.usage.wall_s,
            "cellblock.cpu_s": run.usage.cpu_user_s + run.usage.cpu_system_s,
            "cellblock.peak_memory_bytes": run.usage.peak_memory_bytes,
        }
    # What is not listed below is counted here.
    if run.refusals:
        facts["cellblock.refusals"] = len(run.refusals)
    if run.calls:
        facts["cellblock.host_calls"] = len(run.calls)
    span = tracing.child("cellblock.run", facts, parent=parent, began_ns=began_ns)
    assert span is not None
    for refusal in run.refusals[:REFUSALS_MOST]:
        told: dict[str, Any] = {
            "cellblock.layer": refusal.layer[:NAMES_MOST],
            "cellblock.count": refusal.times,
        }
        if content:
            told["cellblock.tried"] = refusal.tried[:ATTRIBUTE_CHARS]
            told["cellblock.rule"] = refusal.rule[:ATTRIBUTE_CHARS]
        span.add_event("cellblock.refusal", told)
    for call in run.calls[:CALLS_MOST]:
        _add_call(tracing, call, span, began_ns, content=content)
    failed = "" if run.status == "completed" else run.status
    finish(span, {}, error=failed, ended_ns=ended_ns)


def _add_call(
    tracing: Tracing, call: HostCall, parent: "Span", began_ns: int, *, content: bool
) -> None:
    name = call.name[:NAMES_MOST]
    facts: dict[str, Any] = {
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": name,
        "gen_ai.tool.type": "function",
    }
    if content:
        facts["gen_ai.tool.call.arguments"] = str(call.arguments)[:ATTRIBUTE_CHARS]
    start_ns = began_ns + _ns(call.began_s)
    span = tracing.child(f"execute_tool {name}", facts, parent=parent, began_ns=start_ns)
    failed = call.error.type[:NAMES_MOST] if call.error is not None else ""
    finish(span, {}, error=failed, ended_ns=start_ns + _ns(call.wall_s))


def of_facts(status: str, usage: object, denials: object) -> EndedRun:
    """A run as a tool result keeps it, in JSON."""
    spent = Usage.model_validate(usage) if usage is not None else None
    listed = denials if isinstance(denials, Sequence) else ()
    refusals = [
        Refusal(
            str(one.get("layer", "")),
            str(one.get("tried", "")),
            str(one.get("rule", "")),
            int(one.get("count", 1)),
        )
        for one in listed
        if isinstance(one, Mapping)
    ]
    return EndedRun(status, spent, refusals)


def _ns(seconds: float) -> int:
    return int(seconds * SECOND_NS)
