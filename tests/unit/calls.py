"""What a rule table says about a call, worked out row by row, and the calls worth trying."""

from collections.abc import Iterator, Sequence
from itertools import product

from sandbox.guest.jail.callrules import DEFAULT, Rule

JUNK = 0xDEAD_BEEF_0000_0000
"""Upper halves that the kernel ignores where it takes an int."""
WORD = 0xFFFFFFFF

Arguments = tuple[int, ...]


def expected(rules: Sequence[Rule], name: str, arguments: Arguments) -> int:
    """The action of the first row that holds for a call of `name`; the default if none does."""
    for rule in rules:
        if name in rule.calls.split() and all(
            arguments[check.argument] & WORD & check.mask in check.values for check in rule.when
        ):
            return rule.action
    return DEFAULT


def samples(rules: Sequence[Rule], name: str) -> Iterator[Arguments]:
    """Arguments on both sides of every edge that the rows for `name` have."""
    checks = [check for rule in rules if name in rule.calls.split() for check in rule.when]
    if not checks:
        yield (0,) * 6
        yield (JUNK | WORD,) * 6
        return
    edges: dict[int, set[int]] = {}
    for check in checks:
        values = edges.setdefault(check.argument, {0, WORD, JUNK | 0})
        for value in check.values:
            values |= {value, JUNK | value, value + 1 & WORD, value - 1 & WORD}
            if check.mask != WORD:
                values |= {value | (~check.mask & WORD), value ^ check.mask}
                values |= {value ^ 1 << bit for bit in range(32) if check.mask >> bit & 1}
    for chosen in product(*(sorted(edges[argument]) for argument in sorted(edges))):
        arguments = [JUNK] * 6
        for argument, value in zip(sorted(edges), chosen, strict=True):
            arguments[argument] = value
        yield tuple(arguments)
