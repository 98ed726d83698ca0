"""`POST /run_jupyter`: cells one after the other in one session, each with what it gave."""

import time

from runner.bundles import notebook_bundle
from runner.evals.run_code_wire import (
    BadFiles,
    CellRunResult,
    CommandRunResult,
    MiB,
    OnEnd,
    Overloaded,
    RunJupyterRequest,
    RunJupyterResponse,
    allowed,
    decoded,
    fetched,
    tell_none,
)
from sandbox import (
    AsyncSandbox,
    EngineTimeout,
    LimitExceeded,
    Limits,
    Outcome,
    PoolFull,
    Raised,
    SandboxError,
)

LEAST_S = 0.01
SHOWN_CHARS = 2000
ANSWER_BYTES = 64 * MiB
"""What the cells of an answer may write and show, all together."""


async def run_jupyter(
    box: AsyncSandbox, request: RunJupyterRequest, *, on_end: OnEnd = tell_none
) -> RunJupyterResponse:
    """Run the cells; one that fails does not keep the next from running. Raises Overloaded."""
    policy, total_s = box.policy.limits, request.total_timeout
    # The policy's time is for one cell; that of all cells is the client's own to give.
    limits, message = allowed(request.cell_timeout or policy.wall_s, request, policy)
    cells: list[CellRunResult] = []
    began = time.monotonic()
    is_late, shown_bytes = False, 0
    try:
        given = decoded(request.files)
        async with box.session() as session:
            for path, data in given.items():
                await session.put(path, data)
            for code in request.cells:
                left_s = total_s - (time.monotonic() - began)
                if left_s <= 0:
                    is_late = True
                    break
                outcome = await session.run(code, limits=_of_cell(limits, left_s))
                on_end(code, outcome)
                cells.append(_cell(outcome))
                if is_late := _is_late(outcome) and time.monotonic() - began >= total_s:
                    break
                shown_bytes += _size_of(cells[-1])
                if shown_bytes > ANSWER_BYTES:
                    words = "The cells gave more than an answer may have; the rest were not run."
                    message = f"{message} {words}".strip()
                    break
                if outcome.state == "lost":
                    words = "The session ended with a cell; those after it were not run."
                    message = f"{message} {words}".strip()
                    break
            files = await fetched(session, request.fetch_files) if session.is_live else {}
    except (PoolFull, EngineTimeout) as error:
        raise Overloaded(str(error)) from error
    except (SandboxError, BadFiles) as error:
        return RunJupyterResponse(status="SandboxError", message=str(error))
    driver = CommandRunResult(
        status="TimeLimitExceeded" if is_late else "Finished",
        execution_time=time.monotonic() - began,
        return_code=None if is_late else 0,
        stdout="",
        stderr="",
    )
    return RunJupyterResponse(
        status="Failed" if is_late or len(cells) < len(request.cells) else "Success",
        message=message,
        driver=driver,
        cells=cells,
        files=files,
    )


def _of_cell(limits: Limits, left_s: float) -> Limits:
    cell_s = max(min(limits.wall_s, left_s), LEAST_S)
    return limits.model_copy(update={"wall_s": cell_s, "cpu_s": min(limits.cpu_s, cell_s)})


def _is_late(outcome: Outcome) -> bool:
    return isinstance(outcome, LimitExceeded) and outcome.limit in ("wall_s", "cpu_s")


def _cell(outcome: Outcome) -> CellRunResult:
    display = [notebook_bundle(bundle) for bundle in outcome.displays]
    shown: dict[str, object] = {"text/plain": outcome.text}
    if outcome.text is not None and (not display or display[-1].get("text/plain") != outcome.text):
        display.append(shown)
    return CellRunResult(
        stdout=outcome.stdout, stderr=outcome.stderr, display=display, error=_errors(outcome)
    )


def _size_of(cell: CellRunResult) -> int:
    shown = sum(len(str(value)) for bundle in cell.display for value in bundle.values())
    return len(cell.stdout) + len(cell.stderr) + shown


def _errors(outcome: Outcome) -> list[dict[str, object]]:
    if outcome.status == "completed":
        return []
    if isinstance(outcome, Raised):
        found = outcome.error
        name, words, lines = found.type, found.message, found.traceback.splitlines()
    else:
        lines = outcome.for_model(max_chars=SHOWN_CHARS).splitlines()
        name, words = outcome.status, lines[0]
    return [{"ename": name, "evalue": words, "traceback": lines}]
