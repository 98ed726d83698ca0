"""ResponseRun: one response on its way, its loop, its writer, and where it is kept."""

import time
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass

from pydantic import JsonValue
from starlette.requests import HTTPConnection

from runner.dialects.faults import Fault, fault_of
from runner.dialects.parsed_request import ParsedRequest
from runner.dialects.response_items.item_stream import Json
from runner.dialects.responses import ResponsesOptions, stored_item
from runner.dialects.responses_events import ResponsesWriter
from runner.errors import StorageError
from runner.events import Ended, RoundBegan
from runner.server.accounts import Account
from runner.server.http.replies import note
from runner.server.http.streaming import StatusLine
from runner.server.services import Job, Services
from runner.server.store.ids import new_id
from runner.server.store.records import ConversationRow
from runner.server.store.response_store import StoredResponse
from runner.transcript import Transcript, Usage, with_result

OUTPUTS = "code_interpreter_call.outputs"
MORE = "code_interpreter_call.x_outcome"
"""What this server adds to OpenAI's list: tables, bill, refusals and layers of each run."""


@dataclass(frozen=True, slots=True)
class Earlier:
    """What a response goes on from: the conversation without instructions, and its container."""

    transcript: Transcript = ()
    container_id: str = ""
    conversation: ConversationRow | None = None
    """Where the response is added in the end."""
    listed: frozenset[str] = frozenset()
    """MCP servers whose tools were listed already."""


class ResponseRun:
    """One response in progress: streams its events and stores it.

    `new_entries` are what the request adds to the conversation, without instructions.
    """

    def __init__(
        self,
        request: HTTPConnection,
        services: Services,
        account: Account,
        parsed: ParsedRequest,
        options: ResponsesOptions,
        job: Job,
        earlier: Earlier,
        new_entries: Transcript,
    ) -> None:
        self._request = request
        self._services = services
        self._account = account
        self._earlier = earlier
        self._before = (*earlier.transcript, *new_entries)
        self._created_at = int(time.time())
        self._input_items = _with_ids(options.input_items)
        self.parsed = parsed
        self.options = options
        self.job = job
        self.id = new_id("resp")
        self.fault: Exception | None = None
        """What ended the response, once it has begun."""
        self.kept: StoredResponse | None = None
        """The response as others can go on from it, whether it is stored or not."""
        strict = services.config.server.strict_outputs and OUTPUTS not in options.include
        self._writer = ResponsesWriter(
            response_id=self.id,
            created_at=self._created_at,
            model=parsed.model,
            echo=options.echo,
            new_id=new_id,
            container_id=lambda: job.container_id,
            client_tools=frozenset(tool.name for tool in parsed.client_tools),
            shows_outputs=not strict,
            shows_more=MORE in options.include,
            mcp=job.mcp,
        )

    async def events(
        self, status_line: StatusLine | None, *, queued: bool = False
    ) -> AsyncGenerator[Json, None]:
        """Return all events, the whole response in the last.

        An error is raised while nothing was sent, neither of these events nor on `status_line`.
        """
        has_begun = queued
        if queued:
            first = list(self._writer.begin(is_queued=True))
            # Kept before any is sent: no wait after it keeps the work from taking its place.
            await self._save(first[-1])
            for wire_event in first:
                yield wire_event
        try:
            async with aclosing(self.job.events()) as events:
                async for event in events:
                    if not has_begun:
                        if isinstance(event, RoundBegan):
                            continue
                        has_begun = True
                        for wire_event in self._writer.begin():
                            yield wire_event
                    if isinstance(event, Ended):
                        *before, last = self._writer.end(event, completed_at=int(time.time()))
                        for wire_event in before:
                            yield wire_event
                        # Stored before the client can ask for it.
                        await self._save(last)
                        await self._extend(last)
                        yield last
                    else:
                        for wire_event in self._writer.feed(event):
                            yield wire_event
            return
        except Exception as error:
            if not has_begun and (status_line is None or not status_line.is_sent):
                raise
            self.fault, fault = error, fault_of(error)
            if status_line is not None or queued:
                # Else the failure is the answer, and is noted with it.
                note(self._request, error, fault)
        if not has_begun:
            for wire_event in self._writer.begin():
                yield wire_event
        for wire_event in self.failed(fault):
            await self._save_failure(wire_event)
            yield wire_event

    async def unanswered(self) -> AsyncGenerator[Json, None]:
        """Return the events of a response that only keeps its input, for another to go on from."""
        for wire_event in self._writer.begin():
            yield wire_event
        ended = Ended("answered", Usage(), {}, ())
        *before, last = self._writer.end(ended, completed_at=int(time.time()))
        for wire_event in before:
            yield wire_event
        await self._save(last)
        await self._extend(last)
        yield last

    def failed(self, fault: Fault) -> Iterator[Json]:
        """Return the events of an end in an error."""
        return self._writer.fail(fault, self.job.loop.usage, self.job.loop.counts)

    async def cancelled(self) -> Sequence[Json]:
        """Return the last events after the work was cancelled; the response is kept so."""
        events = list(self._writer.cancel(self.job.loop.usage, self.job.loop.counts))
        await self._save_failure(events[-1])
        return events

    async def _save_failure(self, wire_event: Json) -> None:
        """Keep a response that broke; should that fail as well, the client learns of the first
        failure and the log of both."""
        try:
            await self._save(wire_event)
        except StorageError as error:
            if not isinstance(self.fault, StorageError):
                note(self._request, error, fault_of(error))

    async def _save(self, wire_event: Json) -> None:
        """Keep the response in an event that holds one."""
        body = wire_event.get("response")
        if not isinstance(body, dict):
            return
        self.kept = StoredResponse(
            id=self.id,
            owner=self._account.owner,
            created_at=self._created_at,
            body=body,
            input_items=self._input_items,
            transcript=(*self._answered(), *self.job.loop.turns),
            container_id=self.job.kept_id or self._earlier.container_id,
        )
        if self.options.store:
            await self._services.responses.save(self.kept)

    def _answered(self) -> Transcript:
        """The conversation before the answer, with the results of calls approved since."""
        found = self._before
        for result in self.job.loop.approved:
            found = with_result(found, result)
        return found

    async def _extend(self, wire_event: Json) -> None:
        """Add a finished response to its conversation."""
        body, row = wire_event.get("response"), self._earlier.conversation
        if row is None or not isinstance(body, dict) or body["status"] == "failed":
            return
        output = body["output"] if isinstance(body["output"], list) else []
        await self._services.conversations.extend(row, [*self._input_items, *output])


def _with_ids(items: Sequence[Mapping[str, JsonValue]]) -> tuple[dict[str, JsonValue], ...]:
    found = []
    for item in map(stored_item, items):
        prefix = "msg" if item["type"] == "message" else "item"
        found.append({**item, "id": item.get("id") or new_id(prefix)})
    return tuple(found)
