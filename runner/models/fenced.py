"""Models without tool calling: they are told to write a fenced block, and it is read as a call."""

from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from dataclasses import replace

from runner.events import TextDelta
from runner.models.port import Model, ModelEvent, ModelRequest, ToolSpec, TurnEnded
from runner.models.textforms import Splitter
from runner.tools.arguments import read
from runner.transcript import Entry, Instruction, Question, ToolCall, ToolResult, Turn, compact

CODE_TOOL = "code_interpreter"
CODE_WORDS = """\
You can run Python. To run code, write one block that begins with a line ```python and ends with a
line ```, then stop: the block is run and its output is given to you in the next message. Variables
persist from one block to the next. Never write the output yourself. When you know the answer,
write it without any ```python block."""
CALL_WORDS = """\
To call a tool, write one line for each call and then stop:
<tool_call>{"name": "...", "arguments": {...}}</tool_call>
The tools, as JSON schemas:
"""
LAST_WORDS = "Do not run more code or call more tools: answer now with what you know."


class Fenced:
    """Puts the fenced-code protocol around `inner`, which sees no tools at all."""

    def __init__(self, inner: Model) -> None:
        self._inner = inner

    async def stream(self, request: ModelRequest) -> AsyncGenerator[ModelEvent, None]:
        """The events of the next turn; reading ends with the first whole block."""
        names = [tool.name for tool in request.tools]
        can_call = bool(names) and request.tool_choice != "none"
        splitter = Splitter(names if can_call else [], fenced=True, code_tool=CODE_TOOL)
        plain = replace(request, entries=plain_entries(request), tools=(), tool_choice="auto")
        reason = "stop"
        async with aclosing(self._inner.stream(plain)) as events:
            async for event in events:
                if isinstance(event, TextDelta):
                    for found in splitter.feed(event.text):
                        yield found
                    if splitter.is_over:
                        break
                elif isinstance(event, TurnEnded):
                    reason = event.reason
                else:
                    yield event
        for found in splitter.finish():
            yield found
        if splitter.calls:
            yield TurnEnded("calls")
        else:
            yield TurnEnded("length" if reason == "length" else "stop")

    async def close(self) -> None:
        await self._inner.close()


def plain_entries(request: ModelRequest) -> tuple[Entry, ...]:
    """The conversation with tools, calls and results as words."""
    return (*_protocol(request), *_plain(request.entries))


def _protocol(request: ModelRequest) -> Iterator[Entry]:
    others = [tool for tool in request.tools if tool.name != CODE_TOOL]
    words = []
    if len(others) < len(request.tools):
        words.append(CODE_WORDS)
    if others:
        words.append(CALL_WORDS + "\n".join(map(_schema, others)))
    if words and request.tool_choice == "none":
        words.append(LAST_WORDS)
    if words:
        yield Instruction(text="\n\n".join(words))


def _schema(tool: ToolSpec) -> str:
    return compact(tool.model_dump(mode="json", exclude_none=True))


def _plain(entries: tuple[Entry, ...]) -> Iterator[Entry]:
    for entry in entries:
        if not isinstance(entry, Turn):
            yield entry
            continue
        text = "\n".join(part for part in (entry.text, *map(_call_text, entry.calls)) if part)
        yield Turn(text=text)
        if entry.results:
            yield Question(text="\n\n".join(map(_result_text, entry.results)))


def _call_text(call: ToolCall) -> str:
    if call.name != CODE_TOOL:
        return (
            f'<tool_call>{{"name":{compact(call.name)},"arguments":{call.arguments}}}</tool_call>'
        )
    code = read(call.arguments, main="code").values.get("code")
    return f"```python\n{code if isinstance(code, str) else call.arguments}\n```"


def _result_text(result: ToolResult) -> str:
    return f"Output of {result.tool}:\n{result.shown}"
