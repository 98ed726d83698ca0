"""Joins what the network's proxy refused to the attempts of a traced snippet.

The proxy is the host's: that a request came, to which host and port, and that it was refused, is
certain. Where the guest told of the same request, its word adds the URL and the line.
"""

from collections.abc import Sequence
from typing import NamedTuple

from sandbox.outcome import Attempt, Denial


class Joined(NamedTuple):
    """What was tried and what was refused, each request told once."""

    attempts: tuple[Attempt, ...]
    denials: tuple[Denial, ...]


def joined(attempts: Sequence[Attempt], refused: Sequence[Denial]) -> Joined:
    """Return `attempts` with the requests in `refused`, and `refused` with the guest's lines.

    A refusal answers for as many of the guest's requests to that host and port as it counts.
    """
    told = list(attempts)
    unseen: list[Attempt] = []
    denials: list[Denial] = []
    for denial in refused:
        left, line = denial.count, 0
        for place, one in enumerate(told):
            if left and _is_same(one, denial):
                count = min(left, one.count)
                left -= count
                line = line or one.line
                told[place] = _refused(denial, count, one)
                if one.count > count:
                    told.append(one.model_copy(update={"count": one.count - count}))
        if left:
            unseen.append(_refused(denial, left, None))
        denials.append(denial.model_copy(update={"line": line}))
    return Joined((*unseen, *told), tuple(denials))


def _is_same(one: Attempt, denial: Denial) -> bool:
    """Whether the guest tells in `one` of a request that the proxy refused."""
    if not (one.is_guests_word and one.is_allowed and one.action == "request"):
        return False
    there, here = one.arguments, denial.arguments
    return (
        there.get("host", "").strip("[]").lower() == here.get("host")
        and there.get("port") == here.get("port")
        and here.get("method") in ("CONNECT", there.get("method"))
    )


def _refused(denial: Denial, count: int, seen: Attempt | None) -> Attempt:
    url = {"url": seen.arguments["url"]} if seen is not None and "url" in seen.arguments else {}
    return Attempt(
        layer=denial.layer,
        action="request",
        tried=denial.tried,
        arguments={**denial.arguments, **url},
        line=seen.line if seen is not None else 0,
        is_allowed=False,
        rule=denial.rule,
        allow_with=denial.allow_with,
        sentence=denial.sentence,
        count=count,
    )
