"""The names that a zygote interns before it imports the engine."""

import sys

from sandbox.guest.boot import attribute_names
from sandbox.guest.jail import jail
from sandbox.guest.session.session_process import SessionProcess


def test_what_every_session_looks_up_is_among_them() -> None:
    attribute_names.intern_ahead()
    kept = set(attribute_names.kept)
    looked_up = {"_channel", "receive", "session_steps", "proc_fd", "setns", "fork", "snippets"}
    assert looked_up <= kept
    used = {
        *SessionProcess.serve.__code__.co_names,
        *jail.confine_session_process.__code__.co_names,
    }
    assert {"_channel", "receive", "session_steps", "proc_fd"} <= used


def test_each_is_the_one_that_code_will_refer_to() -> None:
    attribute_names.intern_ahead()
    assert len(attribute_names.kept) == len(set(attribute_names.kept)) > 500
    for name in attribute_names.kept:
        assert sys.intern("".join(list(name))) is name
