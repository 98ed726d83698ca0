"""HarmonyReader: the notation of gpt-oss, for endpoints that leave it in the text.

An answer is messages between tokens, each with a channel: `analysis` is thinking, `final` and
`commentary` are text, and a message to a tool is a call. What comes out has the tags and the call
form that the other readers know. Source: openai-harmony, "Response Format".
"""

import json
import re
from typing import Literal

from runner.models.written.thoughts import overlap
from runner.transcript import compact

BEGINNINGS = ("<|channel|>", "<|start|>assistant")
HEAD = re.compile(
    r"(?:<\|start\|>\s*assistant)?(?P<words>[^<]{0,200})(?:<\|channel\|>(?P<channel>[^<]{0,200}))?"
    r"(?:<\|constrain\|>[^<]{0,80})?<\|message\|>"
)
ENDS = ("<|end|>", "<|return|>", "<|call|>", "<|start|>", "<|channel|>")
END = re.compile("|".join(map(re.escape, ENDS)))
LONGEST = max(map(len, ENDS))
TO = re.compile(r"to=(?:functions\.)?([\w.\-]+)")
HEAD_CHARS = 800
BODY_CHARS = 400_000
Mode = Literal["start", "head", "thought", "text", "call", "plain"]


class HarmonyReader:
    """Text of one turn in, the same text with ordinary tags out."""

    def __init__(self) -> None:
        self._mode: Mode = "start"
        self._held = ""
        self._tool = ""
        self._looked = 0

    def feed(self, text: str) -> str:
        """What `text` makes sure; all of it where an answer does not begin in this notation."""
        if self._mode == "plain":
            return text
        self._held += text
        return "".join(self._go(is_end=False))

    def finish(self) -> str:
        """What was held back, as what it is."""
        return "".join(self._go(is_end=True))

    def _go(self, *, is_end: bool) -> list[str]:
        found: list[str] = []
        moved = True
        while moved and (self._held or is_end):
            before = (self._mode, len(self._held))
            found.append(self._step(is_end=is_end))
            moved = before != (self._mode, len(self._held))
        return found

    def _step(self, *, is_end: bool) -> str:
        if self._mode == "start":
            begun = self._held.lstrip()
            if begun.startswith(BEGINNINGS):
                self._held, self._mode = begun, "head"
            elif is_end or not any(one.startswith(begun) for one in BEGINNINGS):
                self._mode = "plain"
            return ""
        if self._mode == "head":
            return self._head(is_end=is_end)
        if self._mode == "plain":
            return self._all()
        return self._body(is_end=is_end)

    def _head(self, *, is_end: bool) -> str:
        self._held = self._held.lstrip()
        for end in ("<|end|>", "<|return|>", "<|call|>"):
            self._held = self._held.removeprefix(end)
        head = HEAD.match(self._held)
        if head is None:
            if is_end or len(self._held) > HEAD_CHARS:
                self._mode = "plain"
            return ""
        words = f"{head['words']} {head['channel'] or ''}"
        self._held = self._held[head.end() :]
        to = TO.search(words)
        self._tool = to[1] if to else ""
        if to:
            self._mode = "call"
            return ""
        self._mode = "thought" if "analysis" in words else "text"
        return "<think>" if self._mode == "thought" else ""

    def _body(self, *, is_end: bool) -> str:
        found = END.search(self._held, max(self._looked - LONGEST, 0))
        self._looked = 0
        if self._mode == "call":
            if found is None and not is_end and len(self._held) < BODY_CHARS:
                self._looked = len(self._held)
                return ""
            end = len(self._held) if found is None else found.start()
            body, self._held = self._held[:end], self._held[end:]
            self._mode = "head" if self._held else "plain"
            # A call that the turn ended inside is left as it is: it cannot be read, nor run.
            return self._call(body) if found is not None or _is_object(body) else body
        keep = 0 if is_end else overlap(self._held, ENDS)
        end = len(self._held) - keep if found is None else found.start()
        body, self._held = self._held[:end], self._held[end:]
        is_over = found is not None or is_end
        closing = "</think>\n" if self._mode == "thought" and is_over else ""
        if found is not None:
            self._mode = "head"
        elif is_end:
            self._mode = "plain"
        return body + closing

    def _call(self, body: str) -> str:
        arguments = body.strip() if _is_object(body) else compact({"code": body.strip()})
        return (
            f'\n<tool_call>\n{{"name": {compact(self._tool)}, "arguments": {arguments}}}\n'
            "</tool_call>\n"
        )

    def _all(self) -> str:
        text, self._held = self._held, ""
        return text


def _is_object(text: str) -> bool:
    try:
        return isinstance(json.loads(text, strict=False), dict)
    except (ValueError, RecursionError):
        return False
