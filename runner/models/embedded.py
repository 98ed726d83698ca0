"""The embedded model: a small one that runs here, for when no other is configured.

Qwen2.5-Coder-1.5B-Instruct calls tools with a template of its own and after four examples, and
hardly ever without either.
"""

import asyncio
import hashlib
import os
import platform
from collections.abc import AsyncGenerator
from contextlib import aclosing, asynccontextmanager
from importlib import metadata
from pathlib import Path

from runner.errors import UpstreamError
from runner.models.fallback import installed
from runner.models.llama import LlamaProcess, Serving
from runner.models.openai_compatible import OpenAICompatible
from runner.models.port import ModelEvent, ModelRequest, Profile
from runner.models.weights import QWEN_CODER
from runner.tools.code_interpreter import NAME, SPEC
from runner.transcript import Entry, Instruction, Question, ToolCall, ToolResult, Turn, compact

TEMPLATE = Path(__file__).with_name("coder.jinja")
CONTEXT_TOKENS, ANSWER_TOKENS, ROUNDS = 4096, 320, 4
SHOWN_CHARS = 2000
OVERFLOW = "exceeds the available context size"
TOO_LONG = (
    f"The embedded model holds {CONTEXT_TOKENS} tokens, and this conversation has more: begin a new"
    " one, or name a larger model"
)
IDLE_S = 900.0

INSTRUCTION = (
    "You are a careful assistant with a Python code interpreter. For every question about numbers,"
    " dates, text or data, call code_interpreter with short Python code that prints the result;"
    " never work it out in your head. When the result comes back, answer in one sentence that"
    " repeats the exact result, in the language of the question. Greetings need no code."
)
RETRY_WORDS = "That did not work. Call code_interpreter again with corrected code."


def _example(number: int, question: str, code: str, output: str, answer: str) -> tuple[Entry, ...]:
    call = ToolCall(id=f"example_{number}", name=NAME, arguments=compact({"code": code}))
    result = ToolResult(call_id=call.id, tool=NAME, shown=output)
    asked, ran = Question(text=question), Turn(calls=(call,), results=(result,))
    return asked, ran, Turn(text=answer)


PROFILE = Profile(
    examples=(
        Instruction(text=INSTRUCTION),
        *_example(
            1,
            "Which is larger, 2**10 or 10**3, and by how much?",
            "a = 2**10\nb = 10**3\nprint(a, b, a - b)",
            "1024 1000 24",
            "2**10 is larger than 10**3 by 24 (1024 against 1000).",
        ),
        *_example(2, "一年有多少小时?", "print(365 * 24)", "8760", "一年有8760小时。"),
        Question(text="Hello!"),
        Turn(text="Hello! Ask me something that I can compute."),
        *_example(
            3,
            "Which date is 100 days after 2022-10-05?",
            "from datetime import date, timedelta\nprint(date(2022, 10, 5) + timedelta(days=100))",
            "2023-01-13",
            "100 days after 2022-10-05 is 2023-01-13.",
        ),
    ),
    temperature=0.0,
    max_tokens=ANSWER_TOKENS,
    rounds=ROUNDS,
    retry_words=RETRY_WORDS,
    shown_chars=SHOWN_CHARS,
)


class Embedded:
    """Answers with a child process, which is started when it is needed and ends when it is not."""

    def __init__(self, what: Serving, *, idle_s: float = IDLE_S) -> None:
        self._what = what
        self._idle_s = idle_s
        self._child: LlamaProcess | None = None
        self._upstream: OpenAICompatible | None = None
        self._changing = asyncio.Lock()
        self._users = 0
        self._ending: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int | None:
        """The child's process id, while there is one."""
        return None if self._child is None or not self._child.is_alive else self._child.pid

    async def stream(self, request: ModelRequest) -> AsyncGenerator[ModelEvent, None]:
        """The events of the next turn. Raises UpstreamError."""
        try:
            async with self._in_use() as upstream, aclosing(upstream.stream(request)) as events:
                async for event in events:
                    yield event
        except UpstreamError as error:
            if error.fault == "rejected" and OVERFLOW in error.detail:
                raise UpstreamError(
                    "rejected", TOO_LONG, status=error.status, answer=error.detail
                ) from error
            raise

    async def warm(self) -> None:
        """Start the child, if there is none, so that the first question need not wait for it."""
        async with self._in_use():
            pass

    async def close(self) -> None:
        """End the child."""
        self._stay()
        async with self._changing:
            await self._stop()

    @asynccontextmanager
    async def _in_use(self) -> AsyncGenerator[OpenAICompatible, None]:
        self._stay()
        self._users += 1
        try:
            yield await self._ready()
        finally:
            self._users -= 1
            if not self._users and self._child is not None:
                self._ending = asyncio.create_task(self._end_when_idle())

    def _stay(self) -> None:
        if self._ending is not None:
            self._ending.cancel()
            self._ending = None

    async def _ready(self) -> OpenAICompatible:
        async with self._changing:
            if self._child is None or not self._child.is_alive:
                await self._stop()
                self._child = await LlamaProcess.start(self._what)
                endpoint = self._child.endpoint.model_copy(update={"model": self._what.name})
                self._upstream = OpenAICompatible(endpoint)
                try:
                    await self._remember(self._child, self._upstream)
                except BaseException:
                    await self._stop()
                    raise
            assert self._upstream is not None
            return self._upstream

    async def _remember(self, child: LlamaProcess, upstream: OpenAICompatible) -> None:
        """Have the child know what every conversation begins with.

        Reading that takes half a minute on two busy processors, and taking it over from a file
        some 30 ms, so it is kept beside the weights. No user's words are in it.
        """
        entries = (*PROFILE.examples, Question(text="Hello!"))
        request = ModelRequest(entries=entries, tools=(SPEC,), max_tokens=1)
        state = self._state_name(request)
        file, fresh = self._what.states / state, f"{state}.{os.getpid()}"
        if file.exists() and await child.restore(state):
            return
        async with aclosing(upstream.stream(request)) as events:
            async for _ in events:
                pass
        if await child.save(fresh):
            for old in self._what.states.glob("*.state"):
                old.unlink(missing_ok=True)
            os.replace(self._what.states / fresh, file)

    def _state_name(self, request: ModelRequest) -> str:
        """A name that stands for all that the state depends on."""
        parts = (
            self._what.weights.name,
            self._what.template,
            str(self._what.context_tokens),
            metadata.version("xllamacpp"),
            platform.machine(),
            compact([entry.model_dump(mode="json") for entry in request.entries]),
            compact([tool.model_dump(mode="json", exclude_none=True) for tool in request.tools]),
        )
        digest = hashlib.sha256("\0".join(parts).encode()).hexdigest()
        return f"{self._what.name}-{digest[:16]}.state"

    async def _end_when_idle(self) -> None:
        await asyncio.sleep(self._idle_s)
        async with self._changing:
            if not self._users:
                await self._stop()

    async def _stop(self) -> None:
        child, self._child = self._child, None
        upstream, self._upstream = self._upstream, None
        if upstream is not None:
            await upstream.close()
        if child is not None:
            await child.stop()


def embedded(field: str = "") -> Embedded:
    """The embedded model, not yet started. Raises ConfigError; `field` is the setting at fault."""
    weights = installed(field)
    template = TEMPLATE.read_text(encoding="utf-8")
    return Embedded(
        Serving(weights, QWEN_CODER.name, template, CONTEXT_TOKENS, ANSWER_TOKENS, weights.parent)
    )
