"""Services: everything that a request needs, in one place, and the loop made from it."""

import asyncio
import time
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import AsyncExitStack, ExitStack, aclosing, contextmanager
from dataclasses import dataclass, field

from runner.config import Config
from runner.dialects.parsed_request import ParsedRequest
from runner.dialects.response_items.mcp_requests import McpOffer
from runner.events import CallDone, CallRunning, Ended, LoopEvent
from runner.faces.mcp_functions import McpFunctions
from runner.loop import Budget, Loop
from runner.models.directory import Directory
from runner.server.accounts import Account, Accounts
from runner.server.http import logs
from runner.server.http.metrics import Metrics
from runner.server.http.streaming import Streams
from runner.server.live.background import BackgroundRuns
from runner.server.live.containers import Containers, Lease
from runner.server.live.job_trace import JobTrace
from runner.server.live.mcp_offers import Offered
from runner.server.live.observer import Observer
from runner.server.live.open_calls import OpenCalls
from runner.server.live.session_slots import SessionSlots
from runner.server.live.session_table import SessionTable
from runner.server.page_access import PageAccess
from runner.server.store.container_store import ContainerStore
from runner.server.store.conversation_store import ConversationStore
from runner.server.store.file_store import FileStore
from runner.server.store.ids import new_id
from runner.server.store.response_store import ResponseStore
from runner.server.store.storage import Storage
from runner.tools.code_interpreter import CodeInterpreter
from runner.tools.port import Tool
from runner.tools.web import WebTools
from runner.transcript import CodeRun, Entry, McpRun
from sandbox import AsyncSandbox, Outcome

DAY_S = 24 * 3600


@dataclass(slots=True)
class Services:
    """What the routes share."""

    config: Config
    directory: Directory
    box: AsyncSandbox
    storage: Storage
    responses: ResponseStore
    conversations: ConversationStore
    files: FileStore
    container_store: ContainerStore
    containers: Containers
    accounts: Accounts
    slots: SessionSlots
    sessions: SessionTable
    page: PageAccess
    web_tools: WebTools = field(default_factory=WebTools)
    metrics: Metrics = field(default_factory=Metrics)
    streams: Streams = field(default_factory=Streams)
    background: BackgroundRuns = field(default_factory=BackgroundRuns)
    open_calls: OpenCalls = field(default_factory=OpenCalls)
    observer: Observer = field(default_factory=lambda: Observer(Metrics()))
    mcp_functions: McpFunctions = field(default_factory=lambda: McpFunctions({}))
    is_ready: bool = False

    async def close(self) -> None:
        """End all that runs; nothing is left when this returns."""
        await self.background.close()
        await self.sessions.close()
        await self.containers.close()
        await self.web_tools.close()
        await self.box.close()
        await asyncio.to_thread(self.mcp_functions.close)
        await self.directory.close()
        await asyncio.to_thread(self.storage.close)
        await asyncio.to_thread(self.observer.close)

    def note_run(self, outcome: Outcome, account: Account, *, where: str, code: str) -> None:
        """Count and write down a snippet that a client ran in a session of its own."""
        self.observer.ran(outcome, owner=account.owner, via="session", where=where, code=code)

    def shown_chars(self, model: str) -> int:
        """How much of a result the model is shown. Raises RequestError."""
        return self.directory.find(model).profile.shown(self.config.server.shown_chars)

    async def sweep(self) -> None:
        """End and forget what was idle for too long. Raises StorageError."""
        retention_s = self.config.server.retention_days * DAY_S
        await self.sessions.sweep()
        await self.storage.sweep()
        await self.containers.sweep()
        await self.files.sweep()
        await self.responses.sweep(retention_s=retention_s)

    def job(
        self,
        parsed: ParsedRequest,
        account: Account,
        *,
        entries: Sequence[Entry] | None = None,
        lease: Lease | None,
        rounds: int | None = None,
        mcp: Offered | None = None,
    ) -> "Job":
        """The loop for `parsed`, of the configured number of rounds. Raises RequestError."""
        served = self.directory.find(parsed.model)
        tools: list[Tool] = []
        if lease is not None:
            tools.append(
                CodeInterpreter(
                    lease,
                    limits=lease.limits,
                    paths=lease.paths,
                    shown_chars=self.shown_chars(parsed.model),
                    retry_words=served.profile.retry_words,
                    functions=self.mcp_functions.described,
                )
            )
        tools += self.web_tools.make(parsed.tools)
        offer = McpOffer()
        if mcp is not None:
            tools += mcp.tools
            offer = mcp.offer

        def call_id(name: str) -> str:
            return new_id("mcpr" if name in offer.asking else "call")

        names_calls = bool(offer.asking) or (lease is not None and bool(parsed.client_tools))
        loop = Loop(
            served.model,
            parsed.model_request(tuple(entries) if entries is not None else None),
            tools,
            client_tools=parsed.client_tools,
            budget=Budget(
                rounds=rounds or self.config.server.rounds,
                tool_calls=parsed.max_tool_calls,
                wall_s=self.config.server.wall_s,
                tokens=parsed.max_tokens,
            ),
            profile=served.profile,
            new_call_id=call_id if names_calls else None,
            asking=offer.asking,
            approved=offer.approved,
        )
        known = parsed.model in self.directory.names
        trace = JobTrace(
            self.metrics,
            self.observer,
            owner=account.owner,
            model=parsed.model if known else "other",
            content=self.config.server.log_content,
        )
        return Job(self, loop, tools, lease, account, trace, offer)


class Job:
    """One request's loop with all that it holds; `events` lets go of everything at its end."""

    def __init__(
        self,
        services: Services,
        loop: Loop,
        tools: Sequence[Tool],
        lease: Lease | None,
        account: Account,
        trace: JobTrace,
        mcp: McpOffer,
    ) -> None:
        self._services = services
        self.mcp = mcp
        self._trace = trace
        self._tools = tools
        self.loop = loop
        self.lease = lease
        self.account = account
        self.has_run_code = False
        self.ended: Ended | None = None

    @property
    def container_id(self) -> str:
        return "" if self.lease is None else self.lease.container_id

    @property
    def kept_id(self) -> str:
        """The container's id, once there is something to come back to."""
        return "" if self.lease is None else self.lease.kept_id

    async def events(self) -> AsyncGenerator[LoopEvent, None]:
        """The loop's events, counted. Raises what the loop raises."""
        metrics, began = self._services.metrics, 0.0
        async with AsyncExitStack() as held:
            if self.lease is not None:
                held.push_async_callback(self.lease.release)
            for tool in self._tools:
                held.push_async_callback(tool.close)
            held.enter_context(self.account.request())
            awaited = held.enter_context(self._session_expected())
            if has_content := self._services.config.server.log_content:
                logs.question(self.loop.asked)
            held.callback(self._trace.close)
            async with aclosing(self.loop.run()) as events:
                async for event in events:
                    self._trace.see(event, self.loop.usage, where=self.container_id)
                    if isinstance(event, CallRunning):
                        if event.call.name == "code_interpreter":
                            self.has_run_code = True
                            awaited.close()
                        began = time.perf_counter()
                    elif isinstance(event, CallDone):
                        run = event.result.details
                        status = run.status if isinstance(run, CodeRun) else "completed"
                        if not isinstance(run, CodeRun) and event.result.is_error:
                            status = "failed"
                        name = event.call.name if event.call.name in KNOWN_TOOLS else "unknown"
                        name = "mcp" if isinstance(run, McpRun) else name
                        metrics.called(name, status, time.perf_counter() - began)
                    elif isinstance(event, Ended):
                        self.ended = event
                        if event.ending == "client_calls" and self.lease is not None:
                            self._services.open_calls.remember(
                                self.account.owner, event.turns, self.kept_id
                            )
                        metrics.endings.labels(event.ending).inc()
                        metrics.spent(event.usage)
                    if has_content:
                        logs.content(event)
                    yield event

    @contextmanager
    def _session_expected(self) -> Iterator[ExitStack]:
        """While the model writes, a worker is made for the code that it will likely call.

        What is given is closed when the first call comes.
        """
        with ExitStack() as expected:
            if self.lease is not None and not self.lease.has_session:
                self._services.box.expect(1)
                expected.callback(self._services.box.expect, -1)
            yield expected

    async def close(self) -> None:
        """Let go of the container, should `events` never have begun."""
        if self.lease is not None:
            await self.lease.release()

    async def finish(self) -> Ended:
        """Run to the end without a stream."""
        async with aclosing(self.events()) as events:
            async for _ in events:
                pass
        assert self.ended is not None
        return self.ended


KNOWN_TOOLS = frozenset({"code_interpreter", "web_search", "web_extractor"})
