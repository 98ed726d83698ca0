"""The filter of a traced session: it allows what the plain one allows, and nothing else."""

import errno
from collections.abc import Sequence
from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox.guest.jail import seccomp
from sandbox.guest.jail.callrules import ALLOW, NOTIFY, Rule, refuse, rules_for
from sandbox.guest.jail.traced_rules import PROBES, Refusals, errno_of, traced
from sandbox.guest.kernel.syscalls import AUDIT_ARCH, NUMBERS
from tests.unit import bpf

ARCHES = sorted(AUDIT_ARCH)
TABLES = {
    "namespaces": rules_for("namespaces"),
    "landlock-7": rules_for("landlock", 7),
    "landlock-1": rules_for("landlock", 1, is_metered=True),
}
PROBED = {name for calls, _action, _why in PROBES for name in calls.split()}
REGISTER = st.integers(0, 2**32 - 1) | st.sampled_from([0, 1, 2, 4, 10, 16, 17, 26, 0x10000000])
each_arch = pytest.mark.parametrize("arch", ARCHES)


@cache
def programs(table: str, arch: str) -> tuple[bpf.Program, bpf.Program]:
    rules = TABLES[table]
    return (
        bpf.load(seccomp.compile_filter(rules, arch)),
        bpf.load(seccomp.compile_filter(traced(rules, arch), arch)),
    )


def both(table: str, arch: str, name: str, arguments: Sequence[int]) -> tuple[int, int]:
    number = NUMBERS[arch][name]
    plain, asking = programs(table, arch)
    words = tuple(arguments)
    return (
        bpf.run(plain, AUDIT_ARCH[arch], number, words).action,
        bpf.run(asking, AUDIT_ARCH[arch], number, words).action,
    )


@given(
    st.sampled_from(sorted(TABLES)),
    st.sampled_from(sorted(NUMBERS["x86_64"])),
    st.lists(REGISTER, min_size=6, max_size=6),
)
def test_a_call_is_allowed_by_both_or_by_neither_and_init_knows_the_answer(
    table: str, name: str, arguments: list[int]
) -> None:
    plain, asking = both(table, "x86_64", name, arguments)
    rule = Refusals(TABLES[table]).rule_of(name, arguments)
    if plain in (ALLOW, NOTIFY):
        assert asking == plain
    if plain == NOTIFY:
        assert rule is None  # As ever, init judges.
    elif plain != ALLOW:
        assert asking in (NOTIFY, plain)
        assert rule is not None
        assert refuse(errno_of(rule)) == plain


@each_arch
@pytest.mark.parametrize("table", TABLES)
def test_every_refusal_is_told_but_what_programs_meet_as_a_matter_of_course(
    table: str, arch: str
) -> None:
    silent = {
        name
        for name in NUMBERS[arch]
        for plain, asking in [both(table, arch, name, (0,) * 6)]
        if plain not in (ALLOW, NOTIFY) and asking != NOTIFY
    }
    assert silent <= PROBED
    assert {"clone3", "mbind"} <= silent


def test_a_rule_that_allows_is_never_answered_by_letting_the_call_go_on() -> None:
    assert errno_of(Rule("read", ALLOW, "files")) == errno.EPERM


def test_a_number_without_a_name_stays_with_the_kernel() -> None:
    _plain, asking = programs("namespaces", "x86_64")
    assert bpf.run(asking, AUDIT_ARCH["x86_64"], 5000, (0,) * 6).action == refuse(errno.ENOSYS)
