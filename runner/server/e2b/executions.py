"""Executions: one snippet as the lines of JSON that E2B's code interpreter streams."""

import asyncio
import textwrap
import time
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing
from typing import Any

from runner.bundles import json_value
from runner.server.e2b.contexts import Context, Contexts
from runner.transcript import compact
from sandbox import AsyncSession, Displayed, Event, Finished, Outcome, Raised, Stderr, Stdout

LAST_S = 0.05
"""A display that nothing follows for so long is no echo of the last expression."""
KEYS = {  # MIME type: its name in a result
    "text/plain": "text",
    "text/html": "html",
    "text/markdown": "markdown",
    "image/svg+xml": "svg",
    "image/png": "png",
    "image/jpeg": "jpeg",
    "application/pdf": "pdf",
    "text/latex": "latex",
    "application/json": "json",
    "application/javascript": "javascript",
    "application/vnd.cellblock.figure+json": "chart",
}
TABLE = {"shape", "columns", "dtypes", "index", "rows"}
"""What the sample of a table has, beside which nothing else."""
Line = Mapping[str, object]


async def execution(
    session: AsyncSession, contexts: Contexts, context: Context, code: str, envs: Mapping[str, str]
) -> AsyncGenerator[Line | Outcome, None]:
    """Lines of a snippet in a context, then its outcome. Raises RequestError, SandboxError.

    `envs` are set for it alone. Leaving early interrupts it.
    """
    async with contexts.entered(context):
        context.count += 1
        yield {"type": "number_of_executions", "execution_count": context.count}
        if envs:
            await session.run(_set(envs))
        try:
            async with aclosing(_lines(session, contexts, textwrap.dedent(code))) as lines:
                async for line in lines:
                    yield line
        finally:
            if envs and session.is_live:
                await session.run(RESET)
    yield {"type": "end_of_execution"}


async def _lines(
    session: AsyncSession, contexts: Contexts, code: str
) -> AsyncGenerator[Line | Outcome, None]:
    held: Displayed | None = None
    async with aclosing(_patient(session, code)) as events:
        async for event in events:
            if held is not None and not isinstance(event, Finished):
                yield result_line(held.bundle, is_main=False)
                held = None
            if isinstance(event, Stdout | Stderr):
                kind = "stdout" if isinstance(event, Stdout) else "stderr"
                yield {"type": kind, "text": event.text, "timestamp": time.time_ns()}
            elif isinstance(event, Displayed):
                held = event
            elif isinstance(event, Finished):
                outcome = event.outcome
                contexts.note(outcome)
                for line in _ending(held, outcome):
                    yield line
                yield outcome


async def _patient(session: AsyncSession, code: str) -> AsyncGenerator[Event | None, None]:
    """Events of a snippet, and None after a display that nothing has followed for a while."""
    events = session.stream(code)
    coming: asyncio.Task[Event] | None = None
    is_held = False
    try:
        while True:
            if is_held:
                coming = asyncio.create_task(_next(events))
                await asyncio.wait({coming}, timeout=LAST_S)
                if not coming.done():
                    yield None
                event, coming = await coming, None
            else:
                event = await _next(events)
            is_held = isinstance(event, Displayed)
            yield event
            if isinstance(event, Finished):
                return
    finally:
        if coming is not None:
            coming.cancel()
            await asyncio.wait({coming})
        if isinstance(events, AsyncGenerator):
            await events.aclose()


async def _next(events: AsyncIterator[Event]) -> Event:
    return await anext(events)


def _ending(held: Displayed | None, outcome: Outcome) -> list[Line]:
    lines: list[Line] = []
    bundle: Mapping[str, str] = {}
    if held is not None:
        if outcome.text is not None and held.bundle.get("text/plain") == outcome.text:
            bundle = held.bundle
        else:
            lines.append(result_line(held.bundle, is_main=False))
    if outcome.text is not None:
        lines.append(result_line({"text/plain": outcome.text, **bundle}, is_main=True))
    if isinstance(outcome, Raised):
        error = outcome.error
        lines.append(_error(error.type, error.message, error.traceback))
    elif outcome.status != "completed":
        text = outcome.for_model(max_chars=2000)
        lines.append(_error(NAMES[outcome.status], text.splitlines()[0], text))
    return lines


NAMES = {"limit_exceeded": "LimitExceeded", "died": "Died", "refused": "Refused"}


def _error(name: str, value: str, traceback: str) -> Line:
    return {"type": "error", "name": name, "value": value, "traceback": traceback}


def result_line(bundle: Mapping[str, str], *, is_main: bool) -> Line:
    """A bundle as a result; what has no name of its own there is under `extra`."""
    line: dict[str, object] = {"type": "result", "is_main_result": is_main}
    extra: dict[str, object] = {}
    for kind, content in bundle.items():
        name = KEYS.get(kind)
        if name is None:
            extra[kind] = content
        elif name == "chart":
            chart = json_value(content)
            if isinstance(chart, dict) and isinstance(chart.get("type"), str):
                line["chart"] = chart
        elif name == "json":
            value = json_value(content)
            if isinstance(value, dict) and value.keys() == TABLE:
                if (data := columns_of(value)) is not None:
                    line["data"] = data
            else:
                line["json"] = value
        elif name == "text" and content[:1] in ("'", '"') and content[:1] == content[-1:]:
            # A text is shown without its quotes, as E2B does.
            line["text"] = content[1:-1]
        else:
            line[name] = content
    return {**line, "extra": extra} if extra else line


def columns_of(table: dict[str, Any]) -> dict[str, list[object]] | None:
    """A whole table by its columns; None where only a sample is at hand, or no table at all."""
    shape, rows, columns = table["shape"], table["rows"], table["columns"]
    if not all(isinstance(part, list) for part in (shape, rows, columns)):
        return None
    # A guest may write what looks like a table of the engine's.
    width = len(columns)
    if (
        shape[:1] != [len(rows)]
        or shape[1:] not in ([], [width])
        or (shape[1:] == [] and width != 1)
    ):
        return None
    if not all(isinstance(row, list) and len(row) == width for row in rows):
        return None
    return {str(name): [row[place] for row in rows] for place, name in enumerate(columns)}


BEFORE = "__e2b_environment__"


def _set(envs: Mapping[str, str]) -> str:
    return (
        f"{BEFORE} = {{name: __import__('os').environ.get(name) for name in {list(envs)!r}}}\n"
        f"__import__('os').environ.update({dict(envs)!r})"
    )


RESET = f"""\
for {BEFORE}name in {BEFORE}:
    if {BEFORE}[{BEFORE}name] is None:
        __import__('os').environ.pop({BEFORE}name, None)
    else:
        __import__('os').environ[{BEFORE}name] = {BEFORE}[{BEFORE}name]
del {BEFORE}, {BEFORE}name
"""


def line_bytes(line: Line) -> bytes:
    """A line as it is sent."""
    return f"{compact(line)}\n".encode("utf-8", "replace")
