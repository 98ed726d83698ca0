"""Says in words what one policy allows beyond another."""

import sys
from collections.abc import Iterator

from sandbox.policy.limits import Limits
from sandbox.policy.policy import Policy

TIERS = ("namespaces", "landlock", "process")
"""From the strongest to the weakest."""
REFUSING = ("refuse", "kill")
MODULES_NAMED = 12


def allowed_beyond(base: Policy, other: Policy) -> list[str]:
    """What `other` allows and `base` does not, a sentence each; empty if `other` is no wider."""
    return list(_sentences(base, other))


def _sentences(base: Policy, other: Policy) -> Iterator[str]:
    if TIERS.index(other.tier) > TIERS.index(base.tier):
        yield f"tier: {other.tier} holds less than {base.tier}"
    if base.language == "restricted" and other.language == "full":
        yield "language: all of Python instead of the restricted language"
    yield from _limits(base.limits, other.limits)
    yield from _network(base, other)
    yield from _mounts(base, other)
    yield from _modules(base, other)
    for name in sorted(other.env.keys() - base.env.keys()):
        yield f"env: {name} is set"
    for name, secret in sorted(other.secrets.items()):
        before = base.secrets.get(name)
        added = set(secret.hosts) - set(before.hosts if before is not None else ())
        if added:
            yield f"secrets: {name} may go to {', '.join(sorted(added))}"
    if other.environment != base.environment:
        yield f"environment: packages of {other.environment or 'the calling interpreter'}"


def _limits(base: Limits, other: Limits) -> Iterator[str]:
    for name in Limits.model_fields:
        before, after = getattr(base, name), getattr(other, name)
        if after > before:
            yield f"limits.{name}: {after} instead of {before}"


def _network(base: Policy, other: Policy) -> Iterator[str]:
    before = () if base.network == "none" else base.network
    after = () if other.network == "none" else other.network
    for rule in after:
        if rule not in before and f"{rule}!" not in before:
            yield f"network: requests to {rule}"


def _mounts(base: Policy, other: Policy) -> Iterator[str]:
    before = {(mount.host, mount.target): mount.access for mount in base.mounts}
    for mount in other.mounts:
        access = before.get((mount.host, mount.target))
        if access is None or (access, mount.access) == ("ro", "rw"):
            how = "read and written" if mount.access == "rw" else "read"
            yield f"mounts: {mount.host} can be {how} at {mount.target}"


def _modules(base: Policy, other: Policy) -> Iterator[str]:
    before, after = base.import_policy, other.import_policy
    if before == after:
        return
    names = set(sys.stdlib_module_names)
    for rule in (*before.rules, *after.rules):
        names.add(rule.pattern.removesuffix(".*").removesuffix("*"))
    names = {name for name in names if name and name[0] != "_" and not set(name) & set("*?[]")}
    found = [
        name
        for name in sorted(names)
        if before.decide(name) in REFUSING and after.decide(name) not in REFUSING
    ]
    if found:
        more = len(found) - MODULES_NAMED
        rest = f" and {more} more" if more > 0 else ""
        yield f"imports: {', '.join(found[:MODULES_NAMED])}{rest}"
    if before.default in REFUSING and after.default not in REFUSING:
        yield "imports: every module that no rule names"
