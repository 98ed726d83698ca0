"""The part of a session that installs packages into it, and into no other."""

import asyncio
import threading
from collections.abc import Sequence

from sandbox.cancellation import in_background
from sandbox.files.session_files import HOME
from sandbox.files.workspace import Workspace
from sandbox.packages.installer import TIMEOUT_S, Installer, Pin, Sources, checked_requirements
from sandbox.packages.laying import lay
from sandbox.policy.environment import discover
from sandbox.policy.policy import Policy
from sandbox.session.file_calls import FileCalls


class InstallCalls(FileCalls):
    """Packages of a session. They are on its disk, and end with it."""

    _policy: Policy

    async def install(
        self,
        packages: Sequence[str],
        *,
        find_links: Sequence[str] = (),
        offline: bool = False,
        index_url: str | None = None,
        timeout_s: float = TIMEOUT_S,
    ) -> list[str]:
        """Lay `packages`, such as `humanize==4.*`, and what they need into this session alone.

        Gives what was laid, as `name==version`; nothing of what the interpreter has already. They
        are resolved and fetched on the host with `uv` or pip: wheels alone, so nothing of them runs
        there. `find_links` are directories of wheels, and with `offline` nothing else is asked. A
        module that is imported already stays what it is. Raises PolicyError, PackagesNotInstalled.
        """
        live = self._alive()
        wanted = checked_requirements(packages)
        sources = Sources(find_links=tuple(find_links), offline=offline, index_url=index_url)
        environment = await asyncio.to_thread(discover, self._policy.environment)
        room = await live.files.room()
        cancelled = threading.Event()

        def work(files: Workspace) -> list[Pin]:
            installer = Installer(
                environment.interpreter,
                sources,
                timeout_s=timeout_s,
                is_cancelled=cancelled.is_set,
            )
            return lay(files, HOME, wanted, installer, room)

        task = in_background(live.files.temporary.apart(work))
        try:
            pins = await asyncio.shield(task)
        except asyncio.CancelledError:
            cancelled.set()  # The thread ends the program soon, and leaves what it has begun.
            task.add_done_callback(_forget)
            raise
        live.forget_listing()
        return [str(pin) for pin in pins]


def _forget(task: "asyncio.Task[list[Pin]]") -> None:
    """Take what came of it, which has no caller any more."""
    if not task.cancelled():
        task.exception()
