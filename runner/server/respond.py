"""Respond: one response on its way, its loop, its writer, and where it is kept."""

import time
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing

from starlette.requests import Request

from runner.dialects.asked import Asked
from runner.dialects.faults import Fault, fault_of
from runner.dialects.responses import ResponsesOptions
from runner.dialects.responses_events import Json, ResponsesWriter
from runner.events import Ended, RoundBegan
from runner.server.auth import Account
from runner.server.ids import new_id
from runner.server.ports import StoredResponse
from runner.server.replies import note
from runner.server.services import Job, Services
from runner.server.streaming import Wire
from runner.transcript import Transcript

OUTPUTS = "code_interpreter_call.outputs"


class Respond:
    """`before` is the conversation up to the answer, as it is kept: without instructions."""

    def __init__(
        self,
        request: Request,
        here: Services,
        who: Account,
        asked: Asked,
        options: ResponsesOptions,
        job: Job,
        before: Transcript,
    ) -> None:
        self._request = request
        self._here = here
        self._who = who
        self._before = before
        self._created_at = int(time.time())
        self.asked = asked
        self.options = options
        self.job = job
        self.id = new_id("resp")
        self.fault: Exception | None = None
        """What ended the response, once it has begun."""
        strict = here.config.server.strict_outputs and OUTPUTS not in options.include
        self._writer = ResponsesWriter(
            response_id=self.id,
            created_at=self._created_at,
            model=asked.model,
            echo=options.echo,
            new_id=new_id,
            container_id=lambda: job.container_id,
            client_tools=frozenset(tool.name for tool in asked.client_tools),
            shows_outputs=not strict,
        )

    async def events(
        self, wire: Wire | None, *, queued: bool = False
    ) -> AsyncGenerator[Json, None]:
        """All events, the whole response in the last.

        An error is raised while nothing was sent, neither of these events nor on `wire`.
        """
        has_begun = queued
        if queued:
            async for told in self._kept(self._writer.begin(is_queued=True)):
                yield told
        try:
            async with aclosing(self.job.events()) as events:
                async for event in events:
                    if not has_begun:
                        if isinstance(event, RoundBegan):
                            continue
                        has_begun = True
                        for told in self._writer.begin():
                            yield told
                    if isinstance(event, Ended):
                        last = self._writer.end(event, completed_at=int(time.time()))
                        async for told in self._kept(last):
                            yield told
                    else:
                        for told in self._writer.feed(event):
                            yield told
            return
        except Exception as error:
            if not has_begun and (wire is None or not wire.is_open):
                raise
            self.fault, fault = error, fault_of(error)
            note(self._request, error, fault)
        if not has_begun:
            for told in self._writer.begin():
                yield told
        async for told in self._kept(self.failed(fault)):
            yield told

    def failed(self, fault: Fault) -> Iterator[Json]:
        """The events of an end in an error."""
        return self._writer.fail(fault, self.job.loop.usage, self.job.loop.counts)

    async def cancelled(self) -> Json:
        """The response after its work was cancelled; it is kept so."""
        body = self._writer.cancel(self.job.loop.usage, self.job.loop.counts)
        await self._save(body)
        return body

    async def _kept(self, events: Iterator[Json]) -> AsyncGenerator[Json, None]:
        """`events`; the response in one is stored before the client can ask for it."""
        for told in events:
            body = told.get("response")
            if isinstance(body, dict):
                await self._save(body)
            yield told

    async def _save(self, body: Json) -> None:
        if not self.options.store:
            return
        items = [
            item if "id" in item else {"id": new_id("msg"), **item}
            for item in self.options.input_items
        ]
        await self._here.responses.save(
            StoredResponse.model_validate(
                {
                    "id": self.id,
                    "owner": self._who.owner,
                    "created_at": self._created_at,
                    "body": body,
                    "input_items": items,
                    "transcript": (*self._before, *self.job.loop.turns),
                    "container_id": self.job.container_id,
                }
            )
        )
