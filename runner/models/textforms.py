"""Tool calls and thinking that a model writes into its plain text.

`Splitter` takes the text of one turn in any pieces and gives back text, thinking and calls. A call
stands at the start of a line, in one of the forms of `call_forms`, or is the whole message as
JSON. What is quoted in a fence or spoken of in a sentence is text, and so is what no tool was
offered for. A fenced block of Python is a call only where the protocol says so.
"""

import re
from collections.abc import Collection, Iterator, Mapping
from typing import Literal, NamedTuple

from pydantic import JsonValue

from runner.events import ReasoningDelta, TextDelta
from runner.models.port import UNREADABLE, CallDelta, ModelEvent
from runner.models.written.call_forms import (
    BY_OPENING,
    END_TOKENS,
    FORMS,
    NAME_KEYS,
    Form,
    WrittenCall,
    json_call,
    json_values,
    pythonic_calls,
    read_block,
)
from runner.models.written.call_types import with_types
from runner.models.written.harmony import HarmonyReader
from runner.models.written.thoughts import FENCE, LINE_CHARS, ThoughtSplitter, overlap
from runner.transcript import compact

OPENINGS = tuple(form.opening for form in FORMS)
OPENING = re.compile("|".join(map(re.escape, OPENINGS)))
END_TOKEN = re.compile("|".join(map(re.escape, END_TOKENS)))
FENCE_OPEN = re.compile(r"(?:\A|(?<=\n))[ \t]*(`{3,})(?:python|py|python3|tool_code)[ \t]*\n")
FENCE_HELD = re.compile(r"(?:\A|(?<=\n))[ \t]*`{0,3}(?:`*[a-z0-9_]{0,10}[ \t]*)?\Z")
FIRST_KEY = re.compile(r'[\[\s]*\{\s*"([^"\\]*)"')
CALL_BEGUN = re.compile(r"\s*(?:[{\[<]|[\w.\-]+(?:\[|\{|\s*<))")
OUTER = "</tool_call>"
OUTER_CLOSING = re.compile(rf"\s*{OUTER}")
SENTENCE_END = ".!?。！？…"
CALL_KEYS = frozenset(
    {*NAME_KEYS, "type", "id", "function", "arguments", "parameters", "args", "input", "tool_calls"}
)
INDENT_CHARS = 4
WHOLE_CAP = CALLS_CHARS = 200_000
ID_PREFIX = "call_text_"
"""What the ids of calls begin with that stood in text."""
Mode = Literal["text", "call", "fence", "whole"]


class _Opening(NamedTuple):
    start: int
    end: int
    form: Form | None
    """None for a fence."""


class Splitter:
    """One turn's text, taken apart as it comes. `tools` are the names that may be called, or those
    with the JSON schemas of their parameters.

    With `fenced` a Python block is a call of `code_tool`, and nothing after the first is read:
    what a model writes behind a block is what it thinks the block printed.
    """

    def __init__(
        self,
        tools: Collection[str] | Mapping[str, Mapping[str, JsonValue]],
        *,
        fenced: bool = False,
        code_tool: str = "code_interpreter",
        thoughts: ThoughtSplitter | None = None,
    ) -> None:
        self._schemas = tools if isinstance(tools, Mapping) else {name: {} for name in tools}
        self._fenced = fenced and code_tool in self._schemas
        self._code_tool = code_tool
        self._held = ""
        self._mode: Mode = "text"
        self._is_start = True
        self._line = ""
        self._is_quoted = False
        self._form: Form | None = None
        self._forms_end = False
        self._fence_end = re.compile("")
        self.thoughts = thoughts or ThoughtSplitter()
        self._harmony = HarmonyReader()
        self.calls = 0
        self.written: list[str] = []
        """The blocks that were read as calls, as they stood in the text."""
        self.is_over = False

    def feed(self, text: str) -> Iterator[ModelEvent]:
        """Events that `text` completes. Nothing more comes once `is_over`."""
        for part in self.thoughts.feed(self._harmony.feed(text)):
            yield from self._part(part.is_thought, part.text)

    def release(self) -> Iterator[ModelEvent]:
        """Give out text that waits for it to be known whether it is thinking."""
        for part in self.thoughts.release():
            yield from self._part(part.is_thought, part.text)

    def finish(self) -> Iterator[ModelEvent]:
        """The turn's text is complete: whatever was held back, as what it is."""
        if rest := self._harmony.finish():
            yield from self.feed(rest)
        for part in self.thoughts.finish():
            yield from self._part(part.is_thought, part.text)
        if not self.is_over:
            yield from self._step(is_end=True)
        self._held = ""

    def read_no_calls(self, *, but_whole: bool = False) -> None:
        """Read everything as text from now on: the endpoint has its own way to call.

        With `but_whole` a message that is nothing but a call as JSON still is one.
        """
        if not but_whole:
            self._schemas = {}
        self._forms_end = but_whole
        self._fenced = False
        self._mode = "text"

    def _part(self, is_thought: bool, text: str) -> Iterator[ModelEvent]:
        if is_thought:
            yield ReasoningDelta(text)
            return
        self._held += text
        moved = True
        while moved and self._held and not self.is_over:
            before = (self._mode, len(self._held))
            yield from self._step(is_end=False)
            moved = before != (self._mode, len(self._held))

    def _step(self, *, is_end: bool) -> Iterator[ModelEvent]:
        if self._mode == "text":
            yield from self._text(is_end)
        elif self._mode == "call":
            yield from self._call(is_end)
        elif self._mode == "fence":
            yield from self._fence(is_end)
        elif is_end or len(self._held) > WHOLE_CAP or self._is_no_call():
            yield from self._whole(is_end=is_end)

    # ---- text -----------------------------------------------------------------------------------

    def _text(self, is_end: bool) -> Iterator[ModelEvent]:
        if self._is_start:
            stripped = self._held.lstrip()
            if not stripped and not is_end:
                return
            if self._schemas and stripped[:1] in ("{", "["):
                if not is_end and any(one.startswith(stripped) for one in OPENINGS):
                    return
                if not stripped.startswith(OPENINGS):
                    self._mode = "whole"
                    if is_end:
                        yield from self._whole(is_end=True)
                    return
        opened = self._first_opening()
        if opened is None:
            keep = 0 if is_end else self._undecided()
            ready = self._held[: len(self._held) - keep]
            self._held = self._held[len(ready) :]
            yield from self._said(ready)
            return
        before, self._held = self._held[: opened.start], self._held[opened.end :]
        self._form, self._mode = opened.form, "call" if opened.form else "fence"
        before = before.rstrip() if "\n" in before[len(before.rstrip()) :] else before
        yield from self._said(before, is_before_call=True)
        self._is_start = False
        if is_end:
            yield from self._step(is_end=True)

    def _said(self, text: str, *, is_before_call: bool = False) -> Iterator[ModelEvent]:
        if not text:
            return
        self._line, self._is_quoted = self._after(text)
        if self.calls and not text.strip():
            # Between two calls of one turn there is only white space worth nothing.
            return
        if text.strip():
            self._is_start = False
        if is_before_call:
            self._line = ""
        yield TextDelta(text)

    def _after(self, text: str) -> tuple[str, bool]:
        """The line that is open behind `text`, and whether it stands in a fence."""
        *whole, line = (self._line + text).split("\n")
        fences = sum(FENCE.match(one) is not None for one in whole)
        return line[-LINE_CHARS:], self._is_quoted ^ bool(fences % 2)

    def _first_opening(self) -> _Opening | None:
        found: list[_Opening] = []
        if self._schemas and not self._forms_end and (tag := self._tag()) is not None:
            found.append(tag)
        block = FENCE_OPEN.search(self._held) if self._fenced else None
        if block is not None and block.start() == 0 and self._line.strip():
            block = FENCE_OPEN.search(self._held, 1)
        if block is not None:
            found.append(_Opening(block.start(), block.end(), None))
            if min(found)[0] == block.start():
                ticks = block[1]
                self._fence_end = re.compile(rf"(?:\A|\n)[ \t]*{ticks}`*[ \t]*(?:\n|\Z)")
        return min(found, key=lambda one: one.start, default=None)

    def _tag(self) -> _Opening | None:
        """The first opening of a form that is neither quoted nor spoken of."""
        for tag in OPENING.finditer(self._held):
            form = BY_OPENING[tag[0]]
            line, is_quoted = self._after(self._held[: tag.start()])
            if not is_quoted and _may_begin(line, form):
                return _Opening(tag.start(), tag.end(), form)
        return None

    def _undecided(self) -> int:
        """How many characters at the end may be the start of an opening."""
        keep = overlap(self._held, OPENINGS) if self._schemas else 0
        if self._fenced and (block := FENCE_HELD.search(self._held)):
            tail = len(self._held) - block.start()
            if "`" in block[0] or not block[0].strip():
                keep = max(keep, tail)
        if self._schemas:
            # Line ends before a call belong to neither.
            ready = self._held[: len(self._held) - keep]
            blank = ready[len(ready.rstrip()) :]
            keep += len(blank) if "\n" in blank else 0
        return keep

    # ---- calls ----------------------------------------------------------------------------------

    def _call(self, is_end: bool) -> Iterator[ModelEvent]:
        form = self._form
        assert form is not None
        ended = self._end_of_block(form)
        if ended is None and not is_end:
            return
        start, end = ended or (len(self._held), len(self._held))
        body, rest = self._held[:start], self._held[end:]
        if ended is not None and not is_end and _is_undecided(rest, form):
            return
        is_closed = ended is not None and bool(form.closings)
        calls = read_block(
            form, body, self._schemas, code_tool=self._code_tool, is_closed=is_closed
        )
        self._mode = "text"
        if not calls or _is_spoken_of(rest, form):
            if calls or form.is_plain or not _means_a_call(body, is_closed):
                whole = form.opening + self._held[:end]
                self._held = rest
                yield from self._said(whole)
            else:
                self.written.append(form.opening + self._held[:end])
                self._held = rest
                yield self._next_call(WrittenCall(UNREADABLE, compact({"text": body.strip()})))
        else:
            self.written.append(form.opening + self._held[:end])
            token = END_TOKEN.match(rest)
            rest = rest[token.end() :] if token else rest
            self._held = rest.removeprefix("\n") if form.closings else rest
            for call in calls:
                yield self._next_call(call)
        if is_end and self._held:
            yield from self._step(is_end=True)

    def _end_of_block(self, form: Form) -> tuple[int, int] | None:
        if not form.closings:
            found = END_TOKEN.search(self._held)
            return None if found is None else found.span()
        ends = [(self._held.find(one), len(one)) for one in form.closings]
        start, size = min((one for one in ends if one[0] >= 0), default=(-1, 0))
        if start < 0:
            return None
        end = start + size
        if form.opening == "<function=":
            # The outer closing tag may be there without its opening one.
            tail = OUTER_CLOSING.match(self._held, end)
            end = tail.end() if tail else end
        return start, end

    def _fence(self, is_end: bool) -> Iterator[ModelEvent]:
        closed = self._fence_end.search(self._held)
        if closed is None and not is_end:
            return
        if (
            closed is not None
            and closed.end() == len(self._held)
            and not is_end
            and not closed[0].endswith("\n")
        ):
            return
        code = self._held if closed is None else self._held[: closed.start()]
        self._held, self._mode, self.is_over = "", "text", True
        yield self._next_call(WrittenCall(self._code_tool, compact({"code": code})))

    def _is_no_call(self) -> bool:
        """Whether the JSON that a message begins with can be no call."""
        stripped = self._held.lstrip()
        if stripped[:1] == "[" and (inner := stripped[1:].lstrip())[:1] not in ("", "{"):
            # Llama 3.2 and 4 write a list of Python calls.
            return not any(f"{tool}(".startswith(inner[: len(tool) + 1]) for tool in self._schemas)
        first = FIRST_KEY.match(self._held)
        return first is not None and first[1] not in CALL_KEYS

    def _whole(self, *, is_end: bool) -> Iterator[ModelEvent]:
        calls = message_calls(self._held, self._schemas)
        self._mode, self._is_start = "text", False
        if not calls:
            if is_end:
                yield from self._step(is_end=True)
            return
        self.written.append(self._held)
        self._held = ""
        for call in calls:
            yield self._next_call(call)

    def _next_call(self, call: WrittenCall) -> CallDelta:
        self.calls += 1
        typed = with_types(call, self._schemas.get(call.name))
        return CallDelta(
            self.calls - 1, typed.arguments, id=f"{ID_PREFIX}{self.calls}", name=typed.name
        )


def _may_begin(line: str, form: Form) -> bool:
    """Whether a call may begin behind `line`, or only be spoken of."""
    if line.count("`") % 2 or line.lstrip()[:1] == ">":
        return False
    if not line.strip():
        return len(line.expandtabs(INDENT_CHARS)) < INDENT_CHARS
    return form.is_token or line.rstrip()[-1] in SENTENCE_END


def _is_undecided(rest: str, form: Form) -> bool:
    """Whether what comes behind a block decides how it is read, and is not there yet."""
    if not form.closings or len(rest) > LINE_CHARS:
        return False
    if form.opening == "<function=" and OUTER.startswith(rest.strip()):
        return True
    line = rest.strip(" \t")
    return any(one.startswith(line) for one in (*OPENINGS, *END_TOKENS))


def _is_spoken_of(rest: str, form: Form) -> bool:
    """Whether the sentence goes on behind the block."""
    line = rest.partition("\n")[0].strip()
    if not form.closings or not line:
        return False
    return not line.startswith(OPENINGS) and END_TOKEN.match(line) is None


def _means_a_call(body: str, is_closed: bool) -> bool:
    """Whether a block that cannot be read was meant as a call, and not as words about one."""
    return is_closed or CALL_BEGUN.match(body) is not None


def calls_at_end(thought: str, tools: Mapping[str, Mapping[str, JsonValue]]) -> list[ModelEvent]:
    """The calls of offered tools that thinking ends with, and with nothing behind them."""
    splitter = Splitter(tools)
    found = [*splitter.feed(thought[-CALLS_CHARS:]), *splitter.finish()]
    while found and isinstance(found[-1], TextDelta) and not found[-1].text.strip():
        found.pop()
    calls: list[ModelEvent] = []
    while found and isinstance(call := found[-1], CallDelta) and call.name in tools:
        calls.insert(0, found.pop())
    return calls


def message_calls(
    text: str, tools: Collection[str] | Mapping[str, Mapping[str, JsonValue]]
) -> list[WrittenCall]:
    """The calls of a message that is JSON as a whole. Each must name an offered tool and bring
    arguments; nothing is repaired."""
    if text.lstrip()[:1] == "[" and (calls := pythonic_calls(text)):
        return calls if all(call.name in tools for call in calls) else []
    values = list(json_values(text.strip()))
    if len(values) == 1 and isinstance(values[0], dict) and "tool_calls" in values[0]:
        values = [values[0]["tool_calls"]]
    flat = [one for value in values for one in (value if isinstance(value, list) else [value])]
    found = []
    for value in flat:
        call = json_call(value)
        has_arguments = isinstance(value, dict) and any(
            key in CALL_KEYS - {"type", "id"} and key not in NAME_KEYS for key in value
        )
        if call is None or call.name not in tools or not has_arguments:
            return []
        found.append(call)
    return found
