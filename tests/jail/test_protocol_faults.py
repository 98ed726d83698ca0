"""A guest that writes to its channel ends its own session at worst; the host goes on."""

import time
from typing import NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sandbox import Sandbox, Session, SessionLost
from sandbox.protocol.frames import encode
from sandbox.protocol.messages import CopyReady, Done, Exited, Ready, pack

CHANNEL = """
import os, socket, stat, time
def channel():
    for number in range(3, 256):
        try:
            if stat.S_ISSOCK(os.fstat(number).st_mode): return number
        except OSError: pass
x = 1
"""
DONE = Done("0" * 16, "completed", "'forged'", "", "", "", 0, 0, "", [])


class Forgery(NamedTuple):
    name: str
    data: bytes


FORGERIES = (
    Forgery("no frame", b"\xff" * 64),
    Forgery("a frame beyond the cap", b"\x20\xff\xff\xff\xff"),
    Forgery("an unknown kind", encode(99, b"{}")),
    Forgery("no JSON", encode(32, b"\x80abc")),
    Forgery("deep JSON", encode(32, b"[" * 50_000)),
    Forgery("the end of another run", pack(DONE)),
    Forgery("a word of a copy", pack(CopyReady(1)) + pack(DONE)),
    Forgery("words of init", pack(Exited(2, 0)) + pack(Ready(1, []))),
    Forgery("half a frame, and then nothing", pack(DONE)[:-5]),
)


@pytest.mark.parametrize("forgery", FORGERIES, ids=lambda forgery: forgery.name)
def test_forged_bytes_while_a_snippet_runs_end_the_snippet(
    box: Sandbox, session: Session, forgery: Forgery
) -> None:
    assert session.run(CHANNEL).status == "completed"
    outcome = session.run(f"x = 2\nos.write(channel(), {forgery.data!r})\ntime.sleep(0.05)\n'end'")
    assert outcome.text != "'forged'"
    assert outcome.status in ("died", "completed"), outcome
    if outcome.status == "died":
        assert "protocol" in [denial.layer for denial in outcome.denials]
        assert outcome.state == "rolled_back"
        assert session.run("x").text == "1"
    assert box.run("6 * 7").text == "42"


def test_forged_bytes_between_snippets_lose_the_session_and_no_more(
    box: Sandbox, session: Session
) -> None:
    session.run(CHANNEL)
    session.run(
        "import threading\n"
        f"t = threading.Timer(0.05, os.write, (channel(), {pack(DONE)!r})); t.start()"
    )
    idle_until_the_timer_has_written = [True] * 20
    with pytest.raises(SessionLost):  # noqa: PT012
        for _ in idle_until_the_timer_has_written:
            session.checkpoints()
            time.sleep(0.02)
    assert box.run("6 * 7").text == "42"


def test_a_closed_channel_is_the_death_of_the_snippet(session: Session) -> None:
    session.run(CHANNEL)
    outcome = session.run("os.close(channel())\ntime.sleep(30)")
    assert (outcome.status, outcome.state) == ("died", "rolled_back")
    assert session.run("x").text == "1"


def test_a_guest_that_eats_the_next_request_ends_by_its_wall_limit_or_dies(
    box: Sandbox, session: Session
) -> None:
    session.run(CHANNEL)
    outcome = session.run("os.dup2(os.open('/dev/null', os.O_RDWR), channel())")
    assert outcome.status == "died"
    assert session.run("x").text == "1"
    assert box.run("1").text == "1"


@settings(
    max_examples=12,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(data=st.binary(max_size=80), kind=st.integers(0, 255), is_framed=st.booleans())
def test_no_bytes_harm_more_than_their_own_session(
    box: Sandbox, data: bytes, kind: int, is_framed: bool
) -> None:
    sent = encode(kind, data) if is_framed else data
    with box.session() as session:
        session.run(CHANNEL)
        outcome = session.run(f"os.write(channel(), {sent!r})")
        assert outcome.status in ("completed", "died")
    assert box.run("6 * 7").text == "42"
