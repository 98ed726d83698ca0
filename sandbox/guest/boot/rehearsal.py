"""Has a zygote do what every session does, before there is one."""

import os
import socket
from typing import cast

from sandbox.guest.kernel.guest_channel import GuestChannel
from sandbox.guest.session import atfork, program_end
from sandbox.guest.session.session_process import REHEARSED, SessionProcess
from sandbox.protocol.messages import TO_GUEST_CAP_BYTES, Call, Run

REHEARSALS = 20
"""CPython 3.11 adapts a function to what it does from about its tenth call on."""
REHEARSED_CALL = ("builtins:len", "")


def rehearse(session: SessionProcess) -> None:
    """Do what every session does a few times: the interpreter then has adapted its code.

    It adapts code by writing into it, and fills caches. What is done here is shared by all
    sessions; each of them would copy the pages that it writes.
    """
    host_end, guest_end = socket.socketpair()
    host = GuestChannel(host_end.detach(), "from_guest", TO_GUEST_CAP_BYTES)
    session._channel = GuestChannel(guest_end.detach(), "to_guest", TO_GUEST_CAP_BYTES)
    session._pid = os.getpid()
    for _ in range(REHEARSALS):
        host.send(Run("", 0, REHEARSED, None, False))
        session._run(cast(Run, session._channel.receive()))
        host.receive()
        host.send(Call("", *REHEARSED_CALL))
        session._call(cast(Call, session._channel.receive()))
        host.receive()
        program_end.rehearse()
        atfork.renew()
    host.close()
    vars(session).pop("_channel").close()  # Freed by a session, it would cost pages there.
    session.snippets.forget(0)
