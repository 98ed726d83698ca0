"""Tool calls and thinking that a model writes into its plain text.

`Splitter` takes the text of one turn in any pieces and gives back text, thinking and calls.
Forms: `<think>...</think>`, `<tool_call>{...}</tool_call>`, a fenced code block (only where the
protocol says so), and a whole message that is one JSON object naming an offered tool.
"""

import json
import re
from collections.abc import Collection, Iterator
from typing import Literal

from runner.events import ReasoningDelta, TextDelta
from runner.models.port import CallDelta, ModelEvent
from runner.tools.arguments import repaired
from runner.transcript import compact

THINK, END_THINK = "<think>", "</think>"
CALL, END_CALL = "<tool_call>", "</tool_call>"
FENCE_OPEN = re.compile(r"(?:\A|(?<=\n))[ \t]*(`{3,})(?:python|py|python3|tool_code)[ \t]*\n")
FENCE_HELD = re.compile(r"(?:\A|(?<=\n))[ \t]*`{0,3}(?:`*[a-z0-9_]{0,10}[ \t]*)?\Z")
WHOLE_CAP = 200_000
Mode = Literal["text", "think", "call", "fence", "whole"]


class Splitter:
    """One turn's text, taken apart as it comes. `tools` are the names that may be called.

    With `fenced` a Python block is a call of `code_tool`, and nothing after the first is read:
    what a model writes behind a block is what it thinks the block printed.
    """

    def __init__(
        self, tools: Collection[str], *, fenced: bool = False, code_tool: str = "code_interpreter"
    ) -> None:
        self._tools = frozenset(tools)
        self._fenced = fenced and code_tool in self._tools
        self._code_tool = code_tool
        self._held = ""
        self._mode: Mode = "text"
        self._is_start = self._is_line_start = True
        self._has_thought = False
        self._fence_end = re.compile("")
        self.calls = 0
        self.is_over = False

    def feed(self, text: str) -> Iterator[ModelEvent]:
        """Events that `text` completes. Nothing more comes once `is_over`."""
        self._held += text
        moved = True
        while moved and self._held and not self.is_over:
            before = (self._mode, len(self._held))
            yield from self._step(is_end=False)
            moved = before != (self._mode, len(self._held))

    def finish(self) -> Iterator[ModelEvent]:
        """The turn's text is complete: whatever was held back, as what it is."""
        if not self.is_over:
            yield from self._step(is_end=True)
        self._held = ""

    def _step(self, *, is_end: bool) -> Iterator[ModelEvent]:
        if self._mode == "text":
            yield from self._text(is_end)
        elif self._mode == "think":
            yield from self._think(is_end)
        elif self._mode == "call":
            yield from self._call(is_end)
        elif self._mode == "fence":
            yield from self._fence(is_end)
        elif is_end or len(self._held) > WHOLE_CAP:
            yield from self._whole()

    def _text(self, is_end: bool) -> Iterator[ModelEvent]:
        if self._has_thought:
            self._held = self._held.lstrip("\n")
            self._has_thought = not self._held
        if self._is_start:
            stripped = self._held.lstrip()
            if not stripped and not is_end:
                return
            if self._tools and stripped.startswith("{"):
                self._mode = "whole"
                if is_end:
                    yield from self._whole()
                return
        opened = self._first_opening()
        if opened is None:
            keep = 0 if is_end else self._undecided()
            ready = self._held[: len(self._held) - keep]
            self._held = self._held[len(ready) :]
            yield from self._said(ready)
            return
        start, end, mode = opened
        before, self._held, self._mode = self._held[:start], self._held[end:], mode
        if mode in ("call", "fence"):
            before = before.rstrip() if "\n" in before[len(before.rstrip()) :] else before
        yield from self._said(before)
        self._is_start = False
        if is_end:
            yield from self._step(is_end=True)

    def _said(self, text: str) -> Iterator[ModelEvent]:
        if self.calls:
            # Between two calls of one turn there is only white space worth nothing.
            text = text if text.strip() else ""
        if text:
            if text.strip():
                self._is_start = False
            self._is_line_start = text.endswith("\n")
            yield TextDelta(text)

    def _first_opening(self) -> tuple[int, int, Mode] | None:
        found: list[tuple[int, int, Mode]] = []
        if (at := self._held.find(THINK)) >= 0 and self._is_start and not self._held[:at].strip():
            found.append((at, at + len(THINK), "think"))
        if self._tools and (at := self._held.find(CALL)) >= 0:
            found.append((at, at + len(CALL), "call"))
        block = FENCE_OPEN.search(self._held) if self._fenced else None
        if block is not None and block.start() == 0 and not self._is_line_start:
            block = FENCE_OPEN.search(self._held, 1)
        if block is not None:
            found.append((block.start(), block.end(), "fence"))
            if min(found) == found[-1]:
                ticks = block[1]
                self._fence_end = re.compile(rf"(?:\A|\n)[ \t]*{ticks}`*[ \t]*(?:\n|\Z)")
        return min(found, default=None)

    def _undecided(self) -> int:
        """How many characters at the end may be the start of an opening."""
        keep = 0
        openings = [THINK] if self._is_start else []
        for opening in openings + ([CALL] if self._tools else []):
            for size in range(min(len(opening) - 1, len(self._held)), 0, -1):
                if self._held.endswith(opening[:size]):
                    keep = max(keep, size)
                    break
        if self._fenced and (block := FENCE_HELD.search(self._held)):
            tail = len(self._held) - block.start()
            if "`" in block[0] or not block[0].strip():
                keep = max(keep, tail)
        if self._tools:
            # Line ends before a call belong to neither.
            ready = self._held[: len(self._held) - keep]
            blank = ready[len(ready.rstrip()) :]
            keep += len(blank) if "\n" in blank else 0
        return keep

    def _think(self, is_end: bool) -> Iterator[ModelEvent]:
        at = self._held.find(END_THINK)
        if at >= 0:
            thought, self._held = self._held[:at], self._held[at + len(END_THINK) :]
            self._mode, self._is_start, self._has_thought = "text", True, True
        else:
            keep = 0 if is_end else _overlap(self._held, END_THINK)
            thought = self._held[: len(self._held) - keep]
            self._held = self._held[len(thought) :]
        if thought:
            yield ReasoningDelta(thought)
        if is_end and at >= 0:
            yield from self._step(is_end=True)

    def _call(self, is_end: bool) -> Iterator[ModelEvent]:
        at = self._held.find(END_CALL)
        if at < 0 and not is_end:
            return
        body = self._held if at < 0 else self._held[:at]
        self._held = "" if at < 0 else self._held[at + len(END_CALL) :]
        self._mode = "text"
        named = named_call(body, self._tools)
        if named is None:
            # Told back to the model as a call whose arguments cannot be read.
            named = (self._only_tool(), body.strip())
        yield self._next_call(*named)
        if is_end and self._held:
            yield from self._step(is_end=True)

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
        yield self._next_call(self._code_tool, compact({"code": code}))

    def _whole(self) -> Iterator[ModelEvent]:
        named = named_call(self._held, self._tools, strict=True)
        self._mode, self._is_start = "text", False
        if named is None:
            return_text, self._held = self._held, ""
            yield TextDelta(return_text)
            return
        self._held = ""
        yield self._next_call(*named)

    def _next_call(self, name: str, arguments: str) -> CallDelta:
        self.calls += 1
        return CallDelta(self.calls - 1, arguments, id=f"call_text_{self.calls}", name=name)

    def _only_tool(self) -> str:
        return self._code_tool if self._code_tool in self._tools else min(self._tools)


def named_call(
    text: str, tools: Collection[str], *, strict: bool = False
) -> tuple[str, str] | None:
    """Name and arguments of the call that the JSON object in `text` stands for.

    Only a tool that was offered counts. `strict` takes nothing that needs repair.
    """
    stripped = text.strip()
    if stripped.startswith("```"):
        stripped = re.sub(r"\A```\w*\n?|\n?```\Z", "", stripped).strip()
    try:
        found = json.loads(stripped, strict=False)
    except (ValueError, RecursionError):
        found = None if strict else repaired(stripped)
    if isinstance(found, dict) and isinstance(found.get("function"), dict):
        found = found["function"]
    if not isinstance(found, dict) or found.get("name") not in tools:
        return None
    arguments = found.get("arguments", found.get("parameters"))
    if strict and not isinstance(arguments, dict | str):
        return None
    text = arguments if isinstance(arguments, str) else compact(arguments or {})
    return str(found["name"]), text


def _overlap(text: str, mark: str) -> int:
    """How many characters at the end of `text` begin `mark`."""
    sizes = range(min(len(mark) - 1, len(text)), 0, -1)
    return next((size for size in sizes if text.endswith(mark[:size])), 0)
