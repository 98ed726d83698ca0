"""Cellblock's engine: jailed sessions of real CPython on the machine that you have.

    from sandbox import Limits, Policy, Sandbox

    with Sandbox(Policy(preload=["pandas"])) as box:
        outcome = box.run("123**21")

Names are resolved on first use, because a zygote imports this package too and must stay small.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sandbox.blocking import Sandbox, Session
    from sandbox.engine import AsyncSandbox
    from sandbox.limits import Limits
    from sandbox.policy import Policy
    from sandbox.session import AsyncSession

_HOMES = {
    "Sandbox": "sandbox.blocking",
    "Session": "sandbox.blocking",
    "AsyncSandbox": "sandbox.engine",
    "AsyncSession": "sandbox.session",
    "Limits": "sandbox.limits",
    "Policy": "sandbox.policy",
}

__all__ = ["AsyncSandbox", "AsyncSession", "Limits", "Policy", "Sandbox", "Session"]


def __getattr__(name: str) -> object:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
