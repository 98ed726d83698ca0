"""A model that says what it was told to say, and tools that do what they were told to do."""

import asyncio
import json
from collections.abc import AsyncGenerator, Callable, Sequence

from runner.events import ReasoningDelta, TextDelta
from runner.models.port import CallDelta, ModelEvent, ModelRequest, ToolSpec, TurnEnded, UsageSeen
from runner.tools.code_interpreter import ALIASES
from runner.transcript import CodeRun, ToolCall, ToolResult, Turn, Usage

Step = ModelEvent | Exception | asyncio.Event


class ScriptedModel:
    """Gives the turn whose number is that of the turns it is shown since the last question."""

    def __init__(self, *turns: Sequence[Step]) -> None:
        self.turns = turns
        self.requests: list[ModelRequest] = []
        self.open = 0
        self.is_closed = False

    async def stream(self, request: ModelRequest) -> AsyncGenerator[ModelEvent, None]:
        self.requests.append(request)
        done = 0
        for entry in request.entries:
            done = done + 1 if isinstance(entry, Turn) else 0
        self.open += 1
        try:
            for step in self.turns[min(done, len(self.turns) - 1)]:
                if isinstance(step, Exception):
                    raise step
                if isinstance(step, asyncio.Event):
                    await step.wait()
                else:
                    yield step
        finally:
            self.open -= 1

    async def close(self) -> None:
        self.is_closed = True


class ScriptedTool:
    """A code interpreter that answers by a function of the code; an event makes it wait."""

    def __init__(
        self,
        answer: Callable[[str], str] = lambda code: f"ran {code}",
        *,
        wait: asyncio.Event | None = None,
        name: str = "code_interpreter",
    ) -> None:
        self._answer = answer
        self._wait = wait
        self.name = name
        self.ran: list[str] = []
        self.started = asyncio.Event()
        self.was_cancelled = False

    @property
    def spec(self) -> ToolSpec:
        return ToolSpec(name=self.name, description="Runs code.", parameters={"type": "object"})

    @property
    def aliases(self) -> frozenset[str]:
        return ALIASES

    async def run(self, call: ToolCall) -> ToolResult:
        code = json.loads(call.arguments)["code"]
        self.started.set()
        if self._wait is not None:
            try:
                await self._wait.wait()
            except asyncio.CancelledError:
                self.was_cancelled = True
                raise
        self.ran.append(code)
        text = self._answer(code)
        run = CodeRun(code=code, container_id="cntr_7c1e", stdout=text)
        return ToolResult(call_id=call.id, tool=self.name, shown=text, details=run)

    async def close(self) -> None:
        """Nothing is held."""


def think(*texts: str) -> list[ModelEvent]:
    return [ReasoningDelta(text) for text in texts]


def say(*texts: str) -> list[ModelEvent]:
    return [TextDelta(text) for text in texts]


def call(code: str, *, index: int = 0, call_id: str = "call_a") -> list[ModelEvent]:
    text = json.dumps({"code": code})
    middle = len(text) // 2
    return [
        CallDelta(index, text[:middle], id=call_id, name="code_interpreter"),
        CallDelta(index, text[middle:]),
    ]


def spent(input_tokens: int, output_tokens: int, reasoning_tokens: int) -> UsageSeen:
    return UsageSeen(
        Usage(
            input_tokens=input_tokens,
            output_tokens=output_tokens,
            reasoning_tokens=reasoning_tokens,
        )
    )


CALLED, STOPPED, CUT = TurnEnded("calls"), TurnEnded("stop"), TurnEnded("length")
