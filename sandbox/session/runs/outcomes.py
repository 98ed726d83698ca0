"""What a run comes to: the one outcome that its limits, its ending and its last word allow."""

import errno
import os
from typing import Any

from sandbox.outcome import (
    Artifact,
    Completed,
    Denial,
    Died,
    ErrorInfo,
    LimitExceeded,
    NameChange,
    Outcome,
    Raised,
    Refused,
    Truncated,
    Usage,
    filled,
    utf8,
)
from sandbox.policy.limits import Limits
from sandbox.processes.worker import Worker
from sandbox.protocol.messages import Done
from sandbox.session.network import NetworkBill
from sandbox.session.runs.limit_watch import Breach
from sandbox.session.runs.snippet_run import Exit, Ran, signal_name
from sandbox.trace.errors import denial_of
from sandbox.trace.proxy_refusals import Joined, joined

COMPLETED = Completed(tier="namespaces", layers=())
NEARLY_ALL = 0.9
"""A library that got no memory may raise the error in Python, after it has used what there was."""
TEXT = -2
EXIT_CODES = {-1: None, TEXT: 1}
"""What `Done.exit_code` stands for where it is no code."""
OUT_OF_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def outcome_of(
    worker: Worker,
    ran: Ran,
    artifacts: tuple[Artifact, ...],
    limits: Limits,
    network: NetworkBill,
) -> Outcome:
    """The outcome of a run: limits first, then how the process ended, then what it said."""
    end = ran.end
    done = end if isinstance(end, Done) else None
    shared = _shared(worker, ran, done, artifacts, network)
    breach = ran.breach
    if breach is not None:
        return _exceeded(breach, shared)
    if isinstance(end, Exit):
        name = signal_name(end.status)
        if name == "SIGSYS":
            killed = Denial(layer="seccomp", tried="a system call", rule="kill")
            shared["denials"] = (*shared["denials"], killed)
        code = os.WEXITSTATUS(end.status) if name is None else None
        return Died(exit_code=code, signal=name, **shared)
    if done is None:
        return Died(exit_code=None, signal="SIGKILL", **shared)
    if done.ended == "refused":
        return Refused(reason=done.error_message, line=done.refused_line, **shared)
    if done.ended == "completed":
        return filled(COMPLETED, shared)
    hit = _limit_behind(worker, done, limits, ran)
    if hit is not None:
        return _exceeded(hit, shared)
    behind = denial_of(done, worker.plan)
    if behind is not None and not any(_is_same(behind, one) for one in shared["denials"]):
        shared["denials"] = (*shared["denials"], behind)
    error = ErrorInfo(
        type=done.error_type,
        message=done.error_message,
        traceback=done.error_traceback,
        exit_code=EXIT_CODES.get(done.exit_code, done.exit_code),
        exit_text=done.error_message if done.exit_code == TEXT else None,
    )
    return Raised(error=error, **shared)


def _shared(
    worker: Worker,
    ran: Ran,
    done: Done | None,
    artifacts: tuple[Artifact, ...],
    network: NetworkBill,
) -> dict[str, Any]:
    """What every outcome has. Of what most runs leave empty, only what this one did not."""
    usage = ran.usage
    if artifacts:
        written = usage.written_bytes + sum(item.size_bytes for item in artifacts)
        usage = usage.model_copy(update={"written_bytes": written})
    if network.usage.requests:
        usage = usage.model_copy(update=vars(network.usage))
    told = Joined(ran.attempts, network.denials)
    if worker.plan.trace and network.denials:
        told = joined(*told)
    shared: dict[str, Any] = {
        "displays": tuple(map(_utf8_bundle, ran.displays)) if ran.displays else (),
        "tool_calls": ran.tool_calls,
        "artifacts": artifacts,
        "usage": usage,
        "denials": (*ran.denials, *told.denials),
        "attempts": told.attempts,
        "state": ran.state,
        "survives": ran.survives,
        "tier": worker.plan.tier,
        "layers": worker.layers,
    }
    if ran.stdout.total or ran.stderr.total:
        shared["stdout"] = ran.stdout.text()
        shared["stderr"] = ran.stderr.text()
        shared["truncated"] = Truncated(stdout=ran.stdout.cut, stderr=ran.stderr.cut)
    if ran.survives_reason:
        shared["survives_reason"] = ran.survives_reason
    if done is not None:
        shared["text"] = utf8(done.text) if done.text is not None else None
        if done.names:
            shared["names"] = _names(done)
        if done.slow_import.isascii() and done.slow_import.replace(".", "").isidentifier():
            shared["hints"] = (_preload_hint(done.slow_import, done.slow_import_ms),)
    return shared


def _preload_hint(module: str, took_ms: int) -> str:
    return (
        f"`import {module}` took {took_ms / 1000:.1f} s, which every fresh session pays: with"
        f' Policy(preload=["{module}"]) it is imported once, ahead'
    )


def _utf8_bundle(bundle: dict[str, str]) -> dict[str, str]:
    return {utf8(kind): utf8(shown) for kind, shown in bundle.items()}


def _is_same(behind: Denial, one: Denial) -> bool:
    """Whether the denial behind an error was told already."""
    return one.layer == "network" or one.line == behind.line


def _exceeded(breach: Breach, shared: dict[str, Any]) -> LimitExceeded:
    return LimitExceeded(
        limit=breach.limit, allowed=breach.allowed, observed=breach.observed, **shared
    )


def too_much_held(worker: Worker, limits: Limits, held_bytes: int) -> LimitExceeded:
    """The outcome of a snippet that was not run: the session holds more than it may use."""
    return LimitExceeded(
        limit="memory_bytes",
        allowed=limits.memory_bytes,
        observed=held_bytes,
        usage=Usage(peak_memory_bytes=held_bytes),
        denials=(
            Denial(
                layer="cgroup",
                tried="to start a snippet",
                rule="memory_bytes",
                hint="the session holds more than this call allows; free some of it first",
            ),
        ),
        tier=worker.plan.tier,
        layers=worker.layers,
    )


def _limit_behind(worker: Worker, done: Done, limits: Limits, ran: Ran) -> Breach | None:
    """The limit that caused the uncaught exception; None if none did.

    The guest names the exception; that the limit was reached is looked up on the host, except
    for memory, where RLIMIT_DATA refuses an allocation and leaves no trace: there the guest says
    whether an allocation failed.
    """
    plan = worker.plan
    is_about_memory = done.error_type.endswith("MemoryError") and plan.asks_for("rlimits")
    was_near = ran.usage.peak_memory_bytes >= limits.memory_bytes * NEARLY_ALL
    if is_about_memory and (done.error_errno == errno.ENOMEM or was_near):
        return Breach("memory_bytes", limits.memory_bytes, ran.usage.peak_memory_bytes)
    if done.error_errno in OUT_OF_SPACE and worker.disk.is_full():
        return Breach("disk_bytes", plan.workspace_bytes, worker.disk.used_bytes())
    is_about_forks = done.error_type in ("BlockingIOError", "RuntimeError")
    if is_about_forks and ran.was_refused_forks:
        return Breach("processes", plan.processes, plan.processes)
    return None


def _names(done: Done) -> tuple[NameChange, ...]:
    fields = ("change", "name", "type", "size", "size_bytes")
    return tuple(
        NameChange.model_validate(dict(zip(fields, row, strict=True))) for row in done.names
    )
