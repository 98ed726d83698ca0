"""Names, numbers and frames that a guest chooses end its own session at worst.

A process gives itself any name, its channel any number, and both at any time: none of that may
decide what the engine takes for dead, signals, or lets another process touch.
"""

import contextlib
import os
import subprocess
from pathlib import Path

import psutil
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from sandbox import (
    CheckpointDropped,
    CopyRefused,
    Limits,
    Policy,
    Sandbox,
    SandboxError,
    Session,
    SessionLost,
)
from sandbox.guest.kernel.sysapi import ARCH
from sandbox.guest.kernel.syscalls import NUMBERS
from sandbox.outcome import LimitExceeded
from sandbox.protocol.codec import pack
from sandbox.protocol.frames import encode
from sandbox.protocol.messages import CopyReady, CopyResult, Denied, Done, Measured
from sandbox.session import checkpoints
from tests.jail.branching import counting_by
from tests.jail.corpus import Tier
from tests.jail.hosts import init_of, run_host
from tests.jail.test_hosts import PLAIN_USER, SYSTEM_PYTHON, as_user, readable

__all__ = ["as_user", "readable"]

QUICK = Limits(wall_s=0.4, grace_s=0.1, cpu_s=20)
SEVERAL = settings(
    max_examples=5,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
HANG = """
import time
while True:
    try:
        while True: time.sleep(1)
    except KeyboardInterrupt: pass
"""
names = st.binary(min_size=1, max_size=15)


# ---- names ------------------------------------------------------------------------------------

NAMED = """
import ctypes, os, signal, threading, time
libc = ctypes.CDLL(None)
def ignore_all():
    for number in range(1, 31):
        if number not in (9, 19): signal.signal(number, signal.SIG_IGN)
def linger(name):
    pid = os.fork()
    if pid == 0:
        libc.prctl(15, name, 0, 0, 0)
        ignore_all()
        time.sleep(20)
        os._exit(0)
    return pid
def leave_first_thread():
    '''A process whose first thread has ended alone is a zombie with a thread that runs.'''
    pid = os.fork()
    if pid == 0:
        ignore_all()
        threading.Thread(target=lambda: (time.sleep(20), os._exit(0))).start()
        libc.syscall(EXIT, 0)
    return pid
def fork_in_thread():
    found = []
    def work():
        found.append(linger(b"thread"))
        time.sleep(20)
    threading.Thread(target=work, daemon=True).start()
    while not found: time.sleep(0.001)
    return found[0]
def begin(names):
    pids = [linger(name) for name in names] + [leave_first_thread(), fork_in_thread()]
    with open("pids", "w") as stream: stream.write(repr(pids))
    time.sleep(0.05)
def left():
    found = []
    for pid in eval(open("pids").read()):
        try: os.kill(pid, 0)
        except ProcessLookupError: continue
        found.append(pid)
    return found
""".replace("EXIT", str(NUMBERS[ARCH]["exit"]))


@pytest.mark.slow
@SEVERAL
@given(st.lists(names, min_size=1, max_size=6), st.sampled_from(["dies", "hangs"]))
@example(
    [b"\xff\xfe", b"\x0bState:\tZ", b"\rState:\tZ", b"\nState:\tX", b") Z 1 1", b"a\\b"], "hangs"
)
def test_a_process_is_ended_whatever_its_name(
    session: Session, given_names: list[bytes], way: str
) -> None:
    assert session.run(NAMED).status == "completed"
    last = "os._exit(1)" if way == "dies" else HANG
    outcome = session.run(f"begin({given_names!r})\n{last}", limits=QUICK)
    assert outcome.state == "rolled_back", outcome
    assert session.run("left()").text == "[]"


@pytest.mark.slow
@SEVERAL
@given(names)
@example(b"\xff\xfe")
@example(b"\x0bState:\tZ")
def test_a_name_in_a_branch_harms_neither_its_origin_nor_its_siblings(name: bytes) -> None:
    with Sandbox(Policy()) as box, box.session() as origin:
        origin.run("kept = 'precious'")
        good, hostile = origin.fork(2)
        with good, hostile:
            outcome = hostile.run(
                "import ctypes, os\n"
                f"ctypes.CDLL(None).prctl(15, {name!r}, 0, 0, 0)\n"
                "os.kill(os.getpid(), 0)\n"
                "os._exit(1)"
            )
            assert (outcome.status, outcome.state) == ("died", "rolled_back")
            for each in (origin, good, hostile):
                assert each.run("kept").text == "'precious'"
            assert origin.run("import os; os._exit(1)").state == "rolled_back"
            assert good.run("kept").text == "'precious'"


# ---- numbers ----------------------------------------------------------------------------------

FORGER = """
import os
from sandbox.guest.session import copies
from sandbox.protocol.messages import copy_ready_frame
real, forged = copies.fork_copy, []
def fork_copy(fd):
    if not forged: return real(fd)
    os.write(fd, copy_ready_frame(forged[-1]))
    kept.append(fd)
    return False
copies.fork_copy, kept = fork_copy, []
"""


def forge_copies(session: Session, pid: int) -> None:
    """Have a checkpoint, then a standby, be said to be `pid`: both times the session is lost."""
    assert session.run(FORGER).status == "completed"
    assert session.run(f"forged.append({pid})").status == "completed"


@SEVERAL
@given(st.integers(1, 2**22))
@example(1)
@example(2)
def test_a_standby_of_another_number_is_no_standby(
    box: Sandbox, session: Session, pid: int
) -> None:
    with box.session() as liar:
        forge_copies(liar, pid)
        outcome = liar.run("import os\nos._exit(1)")
        assert (outcome.status, outcome.state) == ("died", "lost")
    assert session.run("1").text == "1"


def test_no_process_of_the_host_is_signalled_by_its_number(
    box: Sandbox, tier: Tier, decoy: subprocess.Popen[bytes]
) -> None:
    with box.session() as sibling, box.session() as liar:
        sibling.run("import os; x = 1")
        targets = [decoy.pid, os.getpid(), os.getppid()]
        if tier == "landlock":
            targets.append(int(sibling.run("os.getpid()").text or 0))
        for pid in targets:
            with box.session() as liar:
                forge_copies(liar, pid)
                assert liar.run(HANG, limits=QUICK).state == "lost"
            with box.session() as liar:
                forge_copies(liar, pid)
                mark = liar.checkpoint()
                with pytest.raises(SessionLost):
                    liar.rollback(mark)
        assert sibling.run("x").text == "1"


def number_above(pid: int) -> int:
    """How the pid namespace above its own numbers the process that the host knows as `pid`."""
    with open(f"/proc/{pid}/status", "rb") as stream:
        [line] = [line for line in stream if line.startswith(b"NSpid:")]
    return int(line.split()[-2])


@pytest.mark.parametrize("target", ["init", "session process"])
def test_an_origin_has_no_process_of_its_branch_signalled(target: str) -> None:
    with Sandbox(Policy()) as box, box.session() as origin:
        origin.run(FORGER)
        with origin.fork() as branch:
            branch.run("y = 'of the branch'")
            init = init_of(branch)
            pid = init if target == "init" else psutil.Process(init).children()[0].pid
            origin.run(f"forged.append({number_above(pid)})")
            assert origin.run(HANG, limits=QUICK).state == "lost"
            assert branch.run("y").text == "'of the branch'"
            assert psutil.pid_exists(pid)


USER_SCRIPT = """
import json, os, subprocess, sys
from sandbox import Limits, Policy, Sandbox, SessionLost
forger, named, hang = {forger!r}, {named!r}, {hang!r}
quick = Limits(wall_s=0.4, grace_s=0.1)
decoy = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
said = []
try:
    with Sandbox(Policy(tier={tier!r})) as box, box.session() as sibling:
        sibling.run("x = 1")
        for pid in (decoy.pid, os.getpid()):
            with box.session() as liar:
                liar.run(forger); liar.run(f"forged.append({{pid}})")
                said.append(liar.run(hang, limits=quick).state)
            with box.session() as liar:
                liar.run(forger); liar.run(f"forged.append({{pid}})")
                mark = liar.checkpoint()
                try: liar.rollback(mark)
                except SessionLost: said.append("lost")
                else: said.append(liar.run(hang, limits=quick).state)
        with box.session() as named_session:
            named_session.run(named)
            names = [b"\\xff\\xfe", b"\\x0bState:\\tZ"]
            said.append(named_session.run(f"begin({{names}})\\nos._exit(1)").state)
            said.append(named_session.run("left()").text)
        said.append(sibling.run("x").text)
    said.append(decoy.poll())
finally:
    decoy.kill()
print(json.dumps(said))
"""


@pytest.mark.slow
def test_names_and_numbers_do_as_little_where_the_engine_runs_as_a_plain_user(
    tier: Tier, readable: Path, as_user: tuple[str, ...]
) -> None:
    assert PLAIN_USER
    script = USER_SCRIPT.format(forger=FORGER, named=NAMED, hang=HANG, tier=tier)
    said = run_host(script, interpreter=SYSTEM_PYTHON, path=str(readable), wrapper=as_user)
    assert said == [*["lost"] * 4, "rolled_back", "[]", "1", None]


def test_a_copy_that_does_not_answer_is_dropped(
    box: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoints, "COPY_WITHIN_S", 0.5)
    with box.session() as hostile:
        hostile.run(
            "from sandbox.guest.session import copies\nimport time\n"
            "copies.private_bytes = lambda: time.sleep(20)\nx = 1"
        )
        # Nothing but an error of the engine's own is raised: refused, dropped or lost.
        with contextlib.suppress(CopyRefused, CheckpointDropped, SessionLost):
            first = hostile.checkpoint()
            hostile.checkpoint()
            hostile.checkpoints()
            hostile.rollback(first)
    assert box.run("6 * 7").text == "42"


@pytest.mark.slow
def test_the_meter_sees_the_memory_of_a_process_without_its_first_thread(tier: Tier) -> None:
    limits = Limits(memory_bytes=192 << 20, wall_s=8)
    policy = Policy(tier=tier, limits=limits)
    with counting_by("meter"), Sandbox(policy) as box, box.session() as session:
        session.run(NAMED)
        outcome = session.run(
            "def fill():\n"
            "    time.sleep(0.3)\n"
            "    blob = bytearray(b'x') * (90 << 20)\n"
            "    time.sleep(20)\n"
            "for _ in range(4):\n"
            "    if os.fork() == 0:\n"
            "        threading.Thread(target=fill).start()\n"
            f"        libc.syscall({NUMBERS[ARCH]['exit']}, 0)\n"
            "time.sleep(6)\nopen('reached', 'w').close()",
        )
        assert isinstance(outcome, LimitExceeded), outcome
        assert outcome.limit == "memory_bytes"


# ---- orders of frames ---------------------------------------------------------------------------

pids = st.integers(1, 2**22)
frames = st.one_of(
    pids.map(lambda pid: pack(CopyReady(pid))),
    st.builds(lambda why: pack(CopyResult("copy", why)), st.sampled_from(["", "no"])),
    st.just(pack(Measured("copy", 1))),
    st.just(pack(Denied("n", "seccomp", "t", "r", "h"))),
    st.just(pack(Done("n", "completed", None, "", "", "", 0, 0, "", []))),
    st.builds(encode, st.integers(0, 255), st.binary(max_size=8)),
)
SPRAY = """
import os, stat
def channels():
    for number in range(3, 64):
        try:
            if stat.S_ISSOCK(os.fstat(number).st_mode): yield number
        except OSError: pass
def spray(data, fds):
    for fd in fds:
        try: os.write(fd, data)
        except OSError: pass
"""
STANDBY = """
from sandbox.guest.session import copies
real = copies.fork_copy
def fork_copy(fd):
    if data: spray(data, [fd])
    return real(fd)
copies.fork_copy, data = fork_copy, b""
"""


def use(session: Session) -> None:
    """Whatever a user does next with a session, which may have been lost."""
    with contextlib.suppress(SandboxError):
        session.run("1", limits=QUICK)
        mark = session.checkpoint()
        session.checkpoints()
        session.rollback(mark)
        session.run("import os; os._exit(1)", limits=QUICK)


@pytest.mark.slow
@SEVERAL
@given(st.lists(frames, min_size=1, max_size=5), st.sampled_from(["session", "copy"]))
def test_no_order_of_frames_harms_more_than_its_own_session(
    box: Sandbox, session: Session, sent: list[bytes], source: str
) -> None:
    with box.session() as hostile:
        hostile.run(SPRAY)
        data = b"".join(sent)
        if source == "session":
            hostile.run(f"spray({data!r}, channels())", limits=QUICK)
        else:
            hostile.run(STANDBY)
            hostile.run(f"data = {data!r}")
        use(hostile)
    assert session.run("6 * 7").text == "42"


@pytest.mark.slow
@SEVERAL
@given(st.lists(frames, min_size=1, max_size=5), st.sampled_from(["origin", "branch"]))
def test_no_order_of_frames_crosses_between_an_origin_and_its_branches(
    sent: list[bytes], source: str
) -> None:
    with Sandbox(Policy()) as box, box.session() as origin:
        origin.run(SPRAY + "x = 1")
        one, other = origin.fork(2)
        with one, other:
            hostile, spared = (origin, one) if source == "origin" else (one, origin)
            with contextlib.suppress(SandboxError):
                hostile.run(f"spray({b''.join(sent)!r}, channels())", limits=QUICK)
            use(hostile)
            for each in (spared, other):
                assert each.run("x").text == "1"
