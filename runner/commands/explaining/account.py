"""What a snippet tried, sorted as a reviewer reads it; the table and the report are made of it."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from sandbox import Attempt, Denial, Outcome

LISTED = 40
"""Rows of one section; more are counted."""
READING = ("read", "list")
CHANGING = ("write", "remove", "make", "rename", "mode", "link")
REACHING = ("request", "connect", "send", "resolve", "bind")
CODE = ("code", "internals", "native", "environment", "process", "signal")


class Line(NamedTuple):
    """One row of a section; a guest had a hand in its texts, which may hold anything."""

    text: str
    is_refused: bool = False
    more: tuple[str, ...] = ()
    """What stands below it."""


class Section(NamedTuple):
    """Rows under one heading."""

    title: str
    lines: list[Line]


def sections(outcome: Outcome) -> Iterator[Section]:
    """Give what was tried, a section for each kind that there is."""
    for title, actions in (
        ("imports", ("import",)),
        ("read", READING),
        ("written", CHANGING),
        ("programs", ("program",)),
        ("addresses", REACHING),
        ("code", CODE),
    ):
        rows = [_line(one) for one in outcome.attempts if one.action in actions]
        if rows:
            yield Section(title, _bounded(rows))
    yield Section("refused", _bounded(list(_refused(outcome.denials))))


def _bounded(rows: list[Line]) -> list[Line]:
    if len(rows) <= LISTED:
        return rows
    return [*rows[:LISTED], Line(f"and {len(rows) - LISTED} more")]


def _line(one: Attempt) -> Line:
    verb = "" if one.action in ("import", "program", "read", "write") else f"{one.action} "
    parts = [f"{verb}{one.tried}", _where(one.line), _times(one.count)]
    if one.rule and (not one.is_allowed or one.rule.startswith("there is no")):
        parts.append(f": {'refused, ' if not one.is_allowed else ''}{one.rule}")
    if one.arguments.get("process"):
        parts.append(f" [{one.arguments['process']}]")
    return Line("".join(parts), not one.is_allowed)


def _refused(denials: Iterable[Denial]) -> Iterator[Line]:
    for one in denials:
        more = [f"rule: {one.rule}"]
        if one.hint:
            more.append(f"hint: {one.hint}")
        if one.allow_with:
            more += ["allowed with, in the policy:", *one.allow_with.splitlines()]
        text = f"{one.layer}: {one.tried}{_where(one.line)}{_times(one.count)}"
        yield Line(text, True, tuple(more))


def _where(line: int) -> str:
    return f" (line {line})" if line else ""


def _times(count: int) -> str:
    return f", {count} times" if count > 1 else ""


def layers(outcome: Outcome) -> str:
    """Return the tier and its layers, in one line."""
    held = ", ".join(outcome.layers)
    return f"{outcome.tier}; {len(outcome.layers)} layers held: {held}"
