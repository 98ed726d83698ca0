"""Background responses: work that goes on without its client, and can be watched or cancelled."""

import asyncio
from collections import OrderedDict
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing

Json = dict[str, object]
FINISHED_KEPT = 100


class BackgroundRun:
    """One response that runs in a task of its own; its events are kept for later requests."""

    def __init__(
        self,
        owner: str,
        events: AsyncGenerator[Json, None],
        *,
        on_cancel: Callable[[], Awaitable[Sequence[Json]]],
        on_close: Callable[[], Awaitable[None]],
    ) -> None:
        self.owner = owner
        self._events = events
        self._on_cancel = on_cancel
        self._on_close = on_close
        self._log: list[Json] = []
        self._more = asyncio.Condition()
        self._is_over = False
        self._task: asyncio.Task[None] | None = None

    @property
    def is_over(self) -> bool:
        return self._is_over

    @property
    def body(self) -> Mapping[str, object]:
        """The response as the newest event that holds one shows it."""
        for event in reversed(self._log):
            body = event.get("response")
            if isinstance(body, dict):
                return body
        return {}

    async def begin(self) -> Mapping[str, object]:
        """Start the work; the response as it is before anything was done.

        Raises what kept it from beginning.
        """
        self._task = asyncio.create_task(self._work())
        async with self._more:
            await self._more.wait_for(lambda: bool(self._log) or self._is_over)
        if not self._log:
            await self._task
        body = self._log[0].get("response") if self._log else None
        return body if isinstance(body, dict) else {}

    async def cancel(self) -> Mapping[str, object]:
        """Stop the work at once. The response as it is then."""
        assert self._task is not None
        if not self._is_over:
            self._task.cancel()
            await asyncio.wait({self._task})
        return self.body

    async def replay(self, after: int) -> AsyncGenerator[Json, None]:
        """Events numbered above `after`, those to come included.

        The last one comes in any case: a stream without it would look like one that was cut.
        """
        at, is_ended = 0, False
        while True:
            async with self._more:
                while len(self._log) <= at and not self._is_over:
                    await self._more.wait()
                ready, at = self._log[at:], len(self._log)
                is_over = self._is_over
            for event in ready:
                number = event.get("sequence_number")
                if isinstance(number, int) and number > after:
                    is_ended = event is self._log[-1]
                    yield event
            if is_over:
                if self._log and not is_ended:
                    yield self._log[-1]
                return

    async def _work(self) -> None:
        try:
            async with aclosing(self._events) as events:
                async for event in events:
                    await self._append(event)
        except asyncio.CancelledError:
            for event in await self._on_cancel():
                await self._append(event)
        finally:
            await self._on_close()
            async with self._more:
                self._is_over = True
                self._more.notify_all()

    async def _append(self, event: Json) -> None:
        async with self._more:
            self._log.append(event)
            self._more.notify_all()


class BackgroundRuns:
    """Runs by the id of their response; the oldest that are over are forgotten."""

    def __init__(self) -> None:
        self._runs: OrderedDict[str, BackgroundRun] = OrderedDict()

    def add(self, response_id: str, run: BackgroundRun) -> None:
        self._runs[response_id] = run
        over = [key for key, one in self._runs.items() if one.is_over]
        for key in over[: max(len(over) - FINISHED_KEPT, 0)]:
            del self._runs[key]

    def find(self, owner: str, response_id: str) -> BackgroundRun | None:
        run = self._runs.get(response_id)
        return run if run is not None and run.owner == owner else None

    def forget(self, response_id: str) -> None:
        self._runs.pop(response_id, None)

    async def close(self) -> None:
        """Cancel all that run."""
        for run in list(self._runs.values()):
            await run.cancel()
