"""The trace of one session process: what its snippets try, on the way to the host."""

import json
import os
from collections.abc import Iterator
from contextlib import suppress
from typing import Protocol

from sandbox.guest.language.attempts import Attempts, ChildAttempts
from sandbox.guest.language.audited_events import Judge, Tried
from sandbox.guest.language.code_origin import GUEST_ROOTS, Origins
from sandbox.protocol.messages import ATTEMPTS_CAP, AttemptCounts, Attempted
from sandbox.protocol.plan import JailPlan

OF_A_CHILD = "child"
CHILD_LINES = 200
"""Of one snippet's children."""
ARGUMENTS_CAP = 8


class Teller(Protocol):
    """What sends an attempt to the host."""

    def say_attempt(self, tried: Tried, line: int) -> None: ...


class Trace:
    """Keeps the attempts of the running snippet until the channel is free to tell them."""

    def __init__(self, plan: JailPlan, teller: Teller) -> None:
        self._judge = Judge(plan)
        self.attempts = Attempts(Origins((*GUEST_ROOTS, os.getcwd())), self._judge, self._say)
        self._teller = teller
        self._is_over = True
        self._kept: list[tuple[Tried, int]] = []
        self._children: ChildAttempts | None = None

    def enter(self) -> None:
        """Begin a session in this process."""
        self._judge.enter(os.getcwd(), os.environ.get("TMPDIR", "/tmp"))
        self.attempts.watch_environment()

    def begin(self) -> None:
        """Begin with a snippet."""
        self._kept.clear()
        # Where no descriptor is left, children are not heard.
        with suppress(OSError):
            self._children = ChildAttempts()
        self._is_over = False
        self.attempts.begin()

    def keep(self, tried: Tried, line: int) -> None:
        """Have an attempt wait for the next message, or the end."""
        self._kept.append((tried, line))

    def unsent(self, tried: Tried, line: int, nonce: str) -> Iterator[Attempted]:
        """The messages that are due, this attempt being the last."""
        self._kept.append((tried, line))
        while self._kept:
            yield _message(*self._kept.pop(0), nonce)

    def say_in_child(self, tried: Tried, line: int) -> None:
        """Tell the session process, which is an ancestor of this one."""
        if self._children is not None:
            self._children.say(json.dumps([*tried, line]).encode())

    def end(self, nonce: str) -> Iterator[Attempted | AttemptCounts]:
        """The snippet is over: what was not told yet, what its children said, and the counts."""
        self._is_over = True
        for words in self._from_children():
            said = _of_child(words)
            if said is not None:
                self.attempts.note(*said)
        counts, left_out = self.attempts.end()
        while self._kept:
            yield _message(*self._kept.pop(0), nonce)
        yield AttemptCounts(nonce, counts[:ATTEMPTS_CAP], left_out)

    def _say(self, tried: Tried, line: int) -> None:
        if self._is_over:
            self.keep(tried, line)
        else:
            self._teller.say_attempt(tried, line)

    def _from_children(self) -> list[bytes]:
        children, self._children = self._children, None
        return list(children.take())[:CHILD_LINES] if children is not None else []


def _of_child(words: bytes) -> tuple[Tried, int] | None:
    """What a line from a child says; None if it is not as `say_in_child` writes it."""
    with suppress(ValueError, TypeError, AttributeError, RecursionError):
        layer, action, what, arguments, is_allowed, rule, line = json.loads(words)
        texts = [layer, action, what, rule, *arguments.keys(), *arguments.values()]
        is_plain = all(type(text) is str for text in texts) and len(arguments) < ARGUMENTS_CAP
        if is_plain and type(is_allowed) is bool and type(line) is int and 0 <= line < 2**31:
            arguments["process"] = OF_A_CHILD
            return Tried(layer[:64], action[:64], what, arguments, is_allowed, rule), line
    return None


def _message(tried: Tried, line: int, nonce: str) -> Attempted:
    return Attempted(
        nonce,
        tried.layer,
        tried.action,
        tried.what,
        tried.arguments,
        line,
        tried.is_allowed,
        tried.rule,
    )
