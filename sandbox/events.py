"""Events of `stream`: what happens while a snippet runs, in order. The last one is `Finished`."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass

from sandbox.outcome import Artifact, ExecResult, Outcome


@dataclass(frozen=True, slots=True)
class Started:
    """The code was handed over; `number` counts the snippets of the session from 1."""

    number: int = 1


@dataclass(frozen=True, slots=True)
class Stdout:
    """Text that the snippet wrote, whole characters only.

    `raw` are the bytes themselves, where `text` has replacements for some that are no UTF-8. Of a
    command they are always there.
    """

    text: str
    raw: bytes | None = None

    @property
    def data(self) -> bytes:
        """The bytes that were written."""
        return self.text.encode() if self.raw is None else self.raw


@dataclass(frozen=True, slots=True)
class Stderr:
    """The same on the other stream."""

    text: str
    raw: bytes | None = None

    @property
    def data(self) -> bytes:
        """The bytes that were written."""
        return self.text.encode() if self.raw is None else self.raw


@dataclass(frozen=True, slots=True)
class ExecFinished:
    """A command is over. Nothing follows."""

    result: ExecResult


@dataclass(frozen=True, slots=True)
class Displayed:
    """One MIME bundle; binary types as base64.

    `replaces` is the number, from 0, of the display whose place it takes; None for one more.
    """

    bundle: dict[str, str]
    replaces: int | None = None


@dataclass(frozen=True, slots=True)
class Cleared:
    """The displays so far are gone; the numbers start again."""


@dataclass(frozen=True, slots=True)
class ArtifactMade:
    """A file that the snippet left in the workspace, told after its end."""

    artifact: Artifact


@dataclass(frozen=True, slots=True)
class Finished:
    """The snippet is over. Nothing follows."""

    outcome: Outcome


Event = Started | Stdout | Stderr | Displayed | Cleared | ArtifactMade | Finished


async def last_outcome(source: AsyncGenerator[Event, None]) -> Outcome:
    """The outcome of a snippet whose events `source` gives; it is closed."""
    async with aclosing(source):
        async for event in source:
            if isinstance(event, Finished):
                return event.outcome
    raise AssertionError  # It ends with Finished or an error.
