"""Runs snippets by the number, so many at a time."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable

from sandbox.errors import PolicyError
from sandbox.outcome import Outcome
from sandbox.policy.arguments import shown


async def mapped(
    run: Callable[[str], Coroutine[object, object, Outcome]],
    snippets: Iterable[str],
    *,
    width: int,
    ordered: bool,
) -> AsyncIterator[tuple[int, Outcome]]:
    """(index, outcome) of each snippet by `run`, `width` at a time; see `AsyncSandbox.map`."""
    if isinstance(snippets, str | bytes) or not isinstance(snippets, Iterable):
        problem = f"is {shown(snippets)}, of type {type(snippets).__name__}"
        raise PolicyError("snippets", problem, "Give a list of snippets, each a str")
    if width < 1:
        raise PolicyError("concurrency", f"is {width}", "It must be at least 1")
    source = enumerate(snippets)
    running: dict[asyncio.Task[Outcome], int] = {}
    finished: dict[int, Outcome] = {}
    next_index = 0
    try:
        while True:
            while len(running) < width and (item := next(source, None)) is not None:
                task = asyncio.ensure_future(run(item[1]))
                running[task] = item[0]
            if not running:
                return
            done, _ = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                finished[running.pop(task)] = task.result()
            if not ordered:
                for index in sorted(finished):
                    yield index, finished.pop(index)
            while next_index in finished:
                yield next_index, finished.pop(next_index)
                next_index += 1
    finally:
        for task in running:
            task.cancel()
        if running:
            await asyncio.wait(running)
