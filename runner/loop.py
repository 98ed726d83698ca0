"""The tool loop: ask the model, run what it calls, feed back, ask again, until an answer.

Theory of operation. `Loop.run` is an async generator that one task iterates; it starts no task
of its own. A round is one turn of the model, followed by the calls in it, in order, each to its
end before the next: two calls of one turn see each other's variables. The generator holds at most
one thing that works for it, the model's stream or a tool's run, and each is awaited inside the
same frame. So to stop everything is to cancel the task or to close the generator: the stream is
closed, which drops the connection, or the snippet is interrupted, and nothing is left. A deadline
does the same from inside, by a timeout around each single wait and never around a `yield`, where
it would fire in the consumer's code.

Nothing is ever dropped in silence: a budget that ends the loop names itself in `Ended`, a call
that is not run gets a result that says why, and a turn that was cut is not run at all.
"""

import asyncio
import re
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Collection, Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace

from runner.errors import UpstreamError
from runner.events import (
    ArgumentsDelta,
    CallBegan,
    CallDone,
    CallRunning,
    Ended,
    Ending,
    LoopEvent,
    ReasoningDelta,
    RoundBegan,
    TextDelta,
)
from runner.models.port import (
    UNREADABLE,
    CallDelta,
    Model,
    ModelEvent,
    ModelRequest,
    Profile,
    ToolSpec,
    TurnEnded,
    UsageSeen,
)
from runner.models.token_meter import TokenMeter
from runner.models.upstream.json_end import ends_in_text
from runner.tools.port import Tool
from runner.transcript import (
    Entry,
    Instruction,
    Question,
    ToolCall,
    ToolResult,
    Turn,
    Usage,
    with_result,
)

ROUNDS, WALL_S = 24, 600.0
CALLS_A_TURN = 32


@dataclass(frozen=True, slots=True)
class Budget:
    """What one request may spend. `tokens` counts output over all rounds."""

    rounds: int = ROUNDS
    tool_calls: int | None = None
    wall_s: float = WALL_S
    tokens: int | None = None


# ---- the loop -----------------------------------------------------------------------------------


@dataclass(slots=True)
class _Draft:
    """A turn while it is written."""

    thoughts: list[str] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    calls: list["_CallDraft"] = field(default_factory=list)
    by_index: dict[int, "_CallDraft"] = field(default_factory=dict)
    reason: str = ""

    def turn(self) -> Turn:
        """What was written so far, its calls in the order of their numbers."""
        return Turn(
            reasoning="".join(self.thoughts),
            text="".join(self.texts),
            calls=tuple(
                ToolCall(id=call.id, name=call.name, arguments="".join(call.pieces))
                for call in sorted(self.calls, key=lambda call: call.index)
            ),
        )


@dataclass(slots=True)
class _CallDraft:
    index: int
    id: str
    name: str
    pieces: list[str] = field(default_factory=list)


class Loop:
    """One request's way to its answer. `run` may be used once."""

    def __init__(
        self,
        model: Model,
        request: ModelRequest,
        tools: Sequence[Tool] = (),
        *,
        client_tools: Sequence[ToolSpec] = (),
        budget: Budget | None = None,
        profile: Profile | None = None,
        new_call_id: Callable[[str], str] | None = None,
        asking: Collection[str] = (),
        approved: Collection[str] = (),
    ) -> None:
        """`new_call_id` names calls for the client, whose own ids may come again another day.

        Calls of the tools `asking` wait for approval as the client's do; the ids `approved` are
        of such calls in the conversation, which are run before the model is asked.
        """
        self._model = model
        self._profile = profile or Profile()
        self._request = request
        self._tools = {tool.spec.name: tool for tool in tools}
        self._aliases = {alias: tool.spec.name for tool in tools for alias in tool.aliases}
        self._client_tools = frozenset(tool.name for tool in client_tools) | frozenset(asking)
        self._approved = frozenset(approved)
        self.approved: list[ToolResult] = []
        """Results of approved calls, which belong to turns of the conversation."""
        self._specs = (*(tool.spec for tool in tools), *client_tools)
        self._budget = budget or Budget()
        self._new_call_id = new_call_id
        self._meter = TokenMeter()
        self._counts: Counter[str] = Counter()
        self._turns: list[Turn] = []
        self._ids = {
            call.id for one in request.entries if isinstance(one, Turn) for call in one.calls
        }
        self._deadline = 0.0

    @property
    def usage(self) -> Usage:
        """Tokens so far, the current round's estimated until it is counted."""
        return self._meter.usage

    @property
    def counts(self) -> Mapping[str, int]:
        """Calls per tool so far, failed ones included."""
        return self._counts

    @property
    def asked(self) -> tuple[Entry, ...]:
        """The conversation up to the answer."""
        return self._request.entries

    @property
    def turns(self) -> tuple[Turn, ...]:
        """Whole turns so far."""
        return tuple(self._turns)

    async def run(self) -> AsyncGenerator[LoopEvent, None]:
        """Events up to `Ended`. Raises UpstreamError, ReplayMismatch, SandboxError."""
        self._deadline = asyncio.get_running_loop().time() + self._budget.wall_s
        rounds = min(self._budget.rounds, self._profile.rounds or self._budget.rounds)
        async with aclosing(self._run_approved()) as done:
            async for event in done:
                yield event
        for number in range(1, rounds + 1):
            yield RoundBegan(number)
            draft = _Draft()
            async with aclosing(self._ask(draft, is_last=number == rounds)) as events:
                async for event in events:
                    yield event
            turn = draft.turn()
            self._turns.append(_with_calls_closed(turn, "Not run: the request ended here."))
            if draft.reason == "deadline":
                yield self._ended("deadline")
                return
            if ending := self._ending_of(turn, draft.reason):
                yield self._ended(ending)
                return
            if number == rounds:
                break
            async with aclosing(self._run_calls(turn)) as done:
                async for event in done:
                    yield event
            if self._is_late():
                yield self._ended("deadline")
                return
            if any(call.name in self._client_tools for call in turn.calls):
                self._turns[-1] = self._without_client_results(self._turns[-1])
                yield self._ended("client_calls")
                return
        yield self._ended("calls" if self._calls_left() == 0 else "rounds")

    def _ending_of(self, turn: Turn, reason: str) -> Ending | None:
        if reason == "filter":
            return "filter"
        if reason == "length":
            # A call that was cut short is not run: half a program does something else.
            return "tokens" if self._tokens_left() == 0 else "length"
        return None if turn.calls else "answered"

    def _without_client_results(self, turn: Turn) -> Turn:
        """`turn` as it stands while the client has yet to answer its own calls."""
        own = tuple(result for result in turn.results if result.tool not in self._client_tools)
        return turn.model_copy(update={"results": own})

    def _ended(self, ending: Ending) -> Ended:
        return Ended(ending, self._meter.usage, dict(self._counts), tuple(self._turns))

    # ---- one turn -----------------------------------------------------------------------------

    async def _ask(self, draft: _Draft, *, is_last: bool) -> AsyncGenerator[LoopEvent, None]:
        while True:
            request = self._next_request(is_last)
            self._meter.begin(request.entries)
            has_begun = False
            try:
                async with aclosing(self._turn(request, draft)) as events:
                    async for told in events:
                        has_begun = True
                        yield told
            except UpstreamError as error:
                shorter = truncated(self._request.entries)
                if has_begun or not self._request.truncates or not is_too_long(error, shorter):
                    raise
                self._request = replace(self._request, entries=shorter)
                continue
            if not draft.reason:
                raise UpstreamError("cut", "the turn has no end")
            return

    async def _turn(self, request: ModelRequest, draft: _Draft) -> AsyncGenerator[LoopEvent, None]:
        async with aclosing(self._model.stream(request)) as stream:
            while True:
                try:
                    async with asyncio.timeout_at(self._deadline):
                        event = await anext(stream, None)
                except TimeoutError:
                    if not self._is_late():
                        raise
                    draft.reason = "deadline"
                    return
                if event is None:
                    return
                for told in self._take(event, draft):
                    yield told

    def _next_request(self, is_last: bool) -> ModelRequest:
        asked, profile = self._request, self._profile
        sampling = asked.sampling
        if sampling.temperature is None and profile.temperature is not None:
            sampling = sampling.model_copy(update={"temperature": profile.temperature})
        limits = [
            limit
            for limit in (asked.max_tokens, profile.max_tokens, self._tokens_left())
            if limit is not None
        ]
        choice = asked.tool_choice
        if self._turns and choice != "none":
            # A forced call was made; forced again, the loop would never get its answer.
            choice = "auto"
        if self._specs and (is_last or self._calls_left() == 0):
            choice = "none"
        return replace(
            asked,
            entries=(*self._opening(), *self._turns),
            tools=self._specs,
            tool_choice=choice,
            sampling=sampling,
            max_tokens=max(min(limits), 1) if limits else None,
        )

    def _opening(self) -> Iterator[Entry]:
        """Instructions, the profile's examples, then the conversation."""
        if self._profile.system:
            yield Instruction(text=self._profile.system)
        entries, examples = self._request.entries, self._profile.examples
        calls = (call for one in examples if isinstance(one, Turn) for call in one.calls)
        if not all(call.name in self._tools for call in calls):
            # Without the tool they would only teach the model to write calls as text.
            examples = ()
        if not examples:
            yield from entries
            return
        yield from (one for one in entries if isinstance(one, Instruction))
        yield from examples
        yield from (one for one in entries if not isinstance(one, Instruction))

    def _take(self, event: ModelEvent, draft: _Draft) -> Iterator[LoopEvent]:
        if isinstance(event, ReasoningDelta):
            self._meter.thought(event.text)
            draft.thoughts.append(event.text)
            yield event
        elif isinstance(event, TextDelta):
            self._meter.wrote(event.text)
            draft.texts.append(event.text)
            yield event
        elif isinstance(event, CallDelta):
            yield from self._take_call(event, draft)
        elif isinstance(event, UsageSeen):
            self._meter.saw(event.usage)
        elif isinstance(event, TurnEnded):
            draft.reason = event.reason

    def _take_call(self, event: CallDelta, draft: _Draft) -> Iterator[LoopEvent]:
        call = draft.by_index.get(event.index)
        if call is not None and event.id and event.id != call.id and event.name and call.pieces:
            # A recording of a server that numbered every call 0 tells them apart by id alone.
            call = None
        if call is None:
            if len(draft.calls) >= CALLS_A_TURN:
                raise UpstreamError("garbled", f"more than {CALLS_A_TURN} calls in one turn")
            is_known = event.name in self._tools or event.name in self._client_tools
            name = event.name if is_known else self._aliases.get(event.name, event.name)
            call_id = event.id
            if self._new_call_id is not None and name in self._client_tools:
                call_id = self._new_call_id(name)
            call = _CallDraft(event.index, self._unique(call_id), name)
            draft.calls.append(call)
            draft.by_index[event.index] = call
            yield CallBegan(call.id, call.name)
        if event.arguments:
            self._meter.wrote(event.arguments)
            call.pieces.append(event.arguments)
            yield ArgumentsDelta(call.id, event.arguments)

    def _unique(self, call_id: str) -> str:
        """`call_id`, or one that no other call of the conversation has."""
        number, found = 0, call_id
        while not found or found in self._ids:
            number += 1
            found = f"{call_id or 'call'}_{number}"
        self._ids.add(found)
        return found

    # ---- calls --------------------------------------------------------------------------------

    async def _run_calls(self, turn: Turn) -> AsyncGenerator[LoopEvent, None]:
        results: list[ToolResult] = []
        for call in turn.calls:
            if call.name in self._client_tools:
                continue
            yield CallRunning(call)
            result = await self._result_of(call)
            results.append(result)
            begun = turn.model_copy(update={"results": tuple(results)})
            self._turns[-1] = _with_calls_closed(begun, "Not run: the request ended here.")
            yield CallDone(call, result)

    async def _run_approved(self) -> AsyncGenerator[LoopEvent, None]:
        """Run what earlier turns called and was approved since, into those turns."""
        turns = [one for one in self._request.entries if isinstance(one, Turn)]
        for call in [one for turn in turns for one in turn.calls if one.id in self._approved]:
            yield CallBegan(call.id, call.name)
            yield ArgumentsDelta(call.id, call.arguments)
            yield CallRunning(call)
            result = await self._result_of(call)
            self.approved.append(result)
            answered = with_result(self._request.entries, result)
            self._request = replace(self._request, entries=answered)
            yield CallDone(call, result)

    async def _result_of(self, call: ToolCall) -> ToolResult:
        tool = self._tools.get(call.name)
        if ends_in_text(call.arguments):
            return _not_run(
                call, "Not run: the arguments end inside a string. Send the whole call again."
            )
        if tool is None:
            if call.name == UNREADABLE:
                return _not_run(call, "Not run: the call could not be read. Write it again.")
            names = ", ".join(sorted(self._tools)) or "none"
            return _not_run(call, f"There is no tool {call.name!r}. Tools: {names}.")
        if self._calls_left() == 0:
            return _not_run(
                call,
                f"Not run: this request may make {self._budget.tool_calls} tool calls and they"
                " are used up. Answer with what you know.",
            )
        if self._is_late():
            return _not_run(call, "Not run: the time for this request is over.")
        self._counts[call.name] += 1
        try:
            async with asyncio.timeout_at(self._deadline):
                return await tool.run(call)
        except TimeoutError:
            if not self._is_late():
                raise
            return _not_run(call, "Stopped: the time for this request is over.")

    def _calls_left(self) -> int | None:
        if self._budget.tool_calls is None:
            return None
        return max(self._budget.tool_calls - self._counts.total(), 0)

    def _tokens_left(self) -> int | None:
        if self._budget.tokens is None:
            return None
        return max(self._budget.tokens - self._meter.usage.output_tokens, 0)

    def _is_late(self) -> bool:
        return asyncio.get_running_loop().time() >= self._deadline


TOO_LONG = re.compile(
    r"context.{0,12}(?:length|size|window)|maximum context|too (?:long|many tokens)|exceed",
    re.IGNORECASE,
)


def is_too_long(error: UpstreamError, shorter: Sequence[Entry]) -> bool:
    """Whether the conversation did not fit the model, and `shorter` is left of it to try."""
    is_refused = error.fault in ("rejected", "failed")
    return is_refused and bool(shorter) and TOO_LONG.search(error.detail) is not None


def truncated(entries: Sequence[Entry]) -> tuple[Entry, ...]:
    """`entries` without the older half of what was said; empty if nothing can go.

    Instructions stay, and so does all from the last question on. It begins with a question, for
    models refuse a result without its call.
    """
    questions = [at for at, entry in enumerate(entries) if isinstance(entry, Question)]
    if len(questions) < 2:
        return ()
    first = questions[(len(questions) + 1) // 2]
    kept = (entry for entry in entries[:first] if isinstance(entry, Instruction))
    return (*kept, *entries[first:])


def _with_calls_closed(turn: Turn, why: str) -> Turn:
    """`turn` with a result for each call: models refuse a conversation that lacks one."""
    known = {result.call_id for result in turn.results}
    missing = tuple(_not_run(call, why) for call in turn.calls if call.id not in known)
    return turn.model_copy(update={"results": (*turn.results, *missing)}) if missing else turn


def _not_run(call: ToolCall, why: str) -> ToolResult:
    return ToolResult(call_id=call.id, tool=call.name, shown=why, is_error=True)
