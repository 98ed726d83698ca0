"""Closes, in a forked child of the host, the descriptors that control its parent's workers.

A child that kept a zygote channel open would keep the zygote alive after its parent was killed.
"""

import os
import weakref
from typing import Protocol


class Owner(Protocol):
    """Holds descriptors of processes that this process started."""

    def close_in_child(self) -> None:
        """Close them without a word to an event loop, which is not the child's."""


_owners: "weakref.WeakSet[Owner]" = weakref.WeakSet()


def add(owner: Owner) -> None:
    """Have `owner` close what it holds in every child that this process forks from now on."""
    _owners.add(owner)


def discard(owner: Owner) -> None:
    """Forget `owner`, which holds nothing any more."""
    _owners.discard(owner)


def _close_all() -> None:
    for owner in list(_owners):
        owner.close_in_child()


os.register_at_fork(after_in_child=_close_all)
