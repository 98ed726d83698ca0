"""The table of a session that is traced: what it refuses asks init, which answers the same.

Permission stays with the rules. A call that they refuse waits for init, which notes it and gives
the refusal's own errno; it never lets such a call go on, so a caller that changes its arguments
while init looks gains nothing. What the rules allow does not come to init.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from errno import EINVAL, ENOSYS, ENOTTY, EPERM
from typing import Final

from sandbox.guest.jail.callrules import ALLOW, NOTIFY, Check, Rule, refuse
from sandbox.guest.kernel.syscalls import NUMBERS

ERRNO_MASK: Final = 0xFFFF
PROBES: Final = (  # calls                                  action          why
    ("clone3", refuse(ENOSYS), "libc asks at each thread, and goes on"),
    ("ioctl", refuse(ENOTTY), "libraries ask whether a file is a device"),
    ("prctl", refuse(EINVAL), "libraries ask for what they can do without"),
    ("arch_prctl", refuse(EINVAL), "the loader asks at each start"),
    ("openat2", refuse(ENOSYS), "callers use openat then"),
    ("mbind set_mempolicy get_mempolicy set_mempolicy_home_node", None, "BLAS asks, and goes on"),
)
"""Refusals that programs meet as a matter of course: they stay with the kernel and are not told."""


def traced(rules: Sequence[Rule], arch: str) -> tuple[Rule, ...]:
    """`rules` with every refusal turned into a question to init, but for `PROBES`."""
    asking = tuple(replace(rule, action=NOTIFY) if _is_told(rule) else rule for rule in rules)
    return (*asking, Rule(" ".join(_unnamed(rules, arch)), NOTIFY, "no rule allows it"))


class Refusals:
    """Says which rule refuses a call, from the registers that the filter saw too."""

    def __init__(self, rules: Sequence[Rule]) -> None:
        self._rows: dict[str, list[Rule]] = {}
        for rule in rules:
            for name in rule.calls.split():
                self._rows.setdefault(name, []).append(rule)

    def rule_of(self, name: str, arguments: Sequence[int]) -> Rule | None:
        """The rule that refuses this call; None where init itself is to judge it."""
        for rule in self._rows.get(name, ()):
            if all(_holds(check, arguments) for check in rule.when):
                return None if rule.action == NOTIFY else rule
        return NOT_NAMED


NOT_NAMED: Final = Rule("", refuse(ENOSYS), "no rule allows it")


def errno_of(rule: Rule) -> int:
    """What a call that `rule` refuses fails with; EPERM for a rule that refuses nothing."""
    return EPERM if rule.action == ALLOW else rule.action & ERRNO_MASK


def _holds(check: Check, arguments: Sequence[int]) -> bool:
    return arguments[check.argument] & 0xFFFFFFFF & check.mask in check.values


def _is_told(rule: Rule) -> bool:
    if rule.action in (ALLOW, NOTIFY):
        return False
    return not any(
        rule.calls == calls and action in (None, rule.action) for calls, action, _why in PROBES
    )


def _unnamed(rules: Sequence[Rule], arch: str) -> list[str]:
    """Calls of `arch` that no row names, or only under conditions."""
    numbers: Mapping[str, int] = NUMBERS[arch]
    decided = {name for rule in rules if not rule.when for name in rule.calls.split()}
    return [name for name in numbers if name not in decided]
