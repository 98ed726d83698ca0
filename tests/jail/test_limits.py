"""Every limit ends the snippet that goes over it, names itself, and spares the session.

The same snippets run where cgroups count, and where the meter has to.
"""

from collections.abc import Iterator
from typing import NamedTuple

import pytest

from sandbox import Limits, Policy, PolicyError, Sandbox, Session
from sandbox.outcome import Completed, LimitExceeded, Outcome, Raised
from sandbox.processes import supply
from tests.jail.corpus import Tier

KiB = 1024
MiB = 1024 * KiB
LIMITS = Limits(
    wall_s=20,
    cpu_s=20,
    grace_s=0.2,
    memory_bytes=128 * MiB,
    processes=12,
    open_files=64,
    output_bytes=MiB,
    kept_bytes=16 * KiB,
    workspace_bytes=MiB,
    workspace_files=64,
)
LATE_S = 2.0
"""Far more than the kill takes on a busy machine, and far less than the snippets go on for."""


class Counted(NamedTuple):
    """A tier, and whether cgroups count what a session spends or the meter does."""

    tier: Tier
    by_groups: bool


COUNTED = (Counted("namespaces", True), Counted("namespaces", False), Counted("landlock", False))


@pytest.fixture(
    scope="module",
    params=COUNTED,
    ids=[f"{tier}, {'groups' if by_groups else 'meter'}" for tier, by_groups in COUNTED],
)
def limited(request: pytest.FixtureRequest) -> Iterator[Sandbox]:
    """A sandbox with small limits; where there are no cgroups the meter counts in all."""
    counted: Counted = request.param
    with pytest.MonkeyPatch.context() as patch:
        if not counted.by_groups:
            patch.setattr(supply, "_find_hierarchies", lambda: None)
        with Sandbox(Policy(tier=counted.tier, limits=LIMITS), pool_size=1) as box:
            yield box


@pytest.fixture
def session(limited: Sandbox) -> Iterator[Session]:
    with limited.session() as opened:
        assert opened.run("import mmap, os, signal, threading, time\nx = 41").text is None
        yield opened


def assert_lives(session: Session) -> None:
    assert session.run("x + 1").text == "42"


def exceeded(outcome: Outcome) -> LimitExceeded:
    assert isinstance(outcome, LimitExceeded), outcome
    return outcome


# ---- time ---------------------------------------------------------------------------------------


def test_a_sleeper_is_interrupted_at_its_wall_limit(session: Session) -> None:
    outcome = exceeded(session.run("y = 1\ntime.sleep(60)", limits=Limits(wall_s=0.1)))
    assert (outcome.limit, outcome.allowed, outcome.state) == ("wall_s", 0.1, "kept")
    assert 0.1 <= outcome.observed < 0.1 + LATE_S
    assert session.run("x, y").text == "(41, 1)"


class Stubborn(NamedTuple):
    name: str
    code: str


STUBBORN = (
    Stubborn("ignores", "signal.signal(signal.SIGINT, signal.SIG_IGN)\nwhile True: time.sleep(1)"),
    Stubborn("swallows", "while True:\n    try: time.sleep(60)\n    except BaseException: pass"),
    Stubborn(
        "waits in a finally",
        "try: time.sleep(60)\nfinally:\n    while True: time.sleep(1)",
    ),
    Stubborn(
        "blocks",
        "signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 64))\nwhile True: time.sleep(60)",
    ),
    Stubborn(
        "left the session of processes",
        "if os.fork() == 0: os.setsid()\n"
        "signal.signal(signal.SIGINT, signal.SIG_IGN)\nwhile True: time.sleep(1)",
    ),
    Stubborn(
        "waits for a thread",
        "threading.Thread(target=time.sleep, args=(60,)).start()\n"
        "signal.signal(signal.SIGINT, signal.SIG_IGN)\ntime.sleep(60)",
    ),
)


@pytest.mark.parametrize("stubborn", STUBBORN, ids=lambda stubborn: stubborn.name)
def test_a_snippet_that_does_not_heed_the_interrupt_is_killed_after_the_grace(
    session: Session, stubborn: Stubborn
) -> None:
    outcome = exceeded(session.run(stubborn.code, limits=Limits(wall_s=0.1, grace_s=0.1)))
    assert (outcome.limit, outcome.allowed, outcome.state) == ("wall_s", 0.1, "rolled_back")
    assert 0.2 <= outcome.usage.wall_s < 0.2 + LATE_S
    assert_lives(session)


BURNERS = (
    ("itself", "while True: pass"),
    ("children", "for _ in range(2): os.fork()\nwhile True: pass"),
    (
        "short children",
        "while True:\n    if not os.fork(): sum(range(10 ** 5)); os._exit(0)\n    os.wait()",
    ),
    (
        "threads",
        "def burn():\n    while True: pass\n"
        "for _ in range(2): threading.Thread(target=burn, daemon=True).start()\nburn()",
    ),
)


@pytest.mark.parametrize("code", [code for _, code in BURNERS], ids=[name for name, _ in BURNERS])
def test_cpu_time_is_counted_by_whomever_it_is_burnt(session: Session, code: str) -> None:
    outcome = exceeded(session.run(code, limits=Limits(cpu_s=0.2, grace_s=0.1)))
    assert (outcome.limit, outcome.allowed) == ("cpu_s", 0.2)
    assert outcome.observed >= 0.2
    assert outcome.usage.cpu_user_s + outcome.usage.cpu_system_s >= 0.15
    assert_lives(session)


def test_cpu_time_of_earlier_snippets_does_not_count(session: Session) -> None:
    limits = Limits(cpu_s=0.4)
    busy = "until = time.process_time() + 0.15\nwhile time.process_time() < until: pass"
    for _ in range(4):
        assert session.run(busy, limits=limits).status == "completed"


def test_sleeping_takes_no_cpu_time(session: Session) -> None:
    outcome = session.run("time.sleep(0.2)", limits=Limits(cpu_s=0.15))
    assert isinstance(outcome, Completed)
    assert outcome.usage.wall_s >= 0.2


# ---- memory -------------------------------------------------------------------------------------

EATERS = (
    (
        "of private pages",
        "m = mmap.mmap(-1, 1 << 28, flags=mmap.MAP_PRIVATE)\n"
        "for at in range(0, 1 << 28, 4096): m[at] = 1\ntime.sleep(60)",
    ),
    (
        "of shared pages",
        "m = mmap.mmap(-1, 1 << 28)\nfor at in range(0, 1 << 28, 4096): m[at] = 1\ntime.sleep(60)",
    ),
    (
        "multiplied by fork",
        "for _ in range(3): os.fork()\nkept = b'x' * (48 << 20)\nsignal.pause()",
    ),
    ("of anonymous files", "fd = os.memfd_create('m')\nwhile True: os.write(fd, bytes(1 << 20))"),
)


@pytest.mark.parametrize("code", [code for _, code in EATERS], ids=[name for name, _ in EATERS])
def test_memory_is_counted_for_all_processes_together(session: Session, code: str) -> None:
    outcome = session.run(code, limits=Limits(wall_s=8))
    if isinstance(outcome, LimitExceeded) and outcome.limit == "wall_s":
        # The kernel ended a child that held too much; the snippet itself waits for ever.
        assert [denial.rule for denial in outcome.denials] == ["memory_bytes"]
        return
    if isinstance(outcome, Raised):
        # A file of memory is under the limit of a file's length, too.
        assert "memfd" in code
        assert outcome.error.type == "OSError"
        return
    assert (exceeded(outcome).limit, exceeded(outcome).allowed) == ("memory_bytes", 128 * MiB)
    assert outcome.state == "rolled_back"
    assert_lives(session)


def test_too_much_python_heap_ends_the_snippet(session: Session) -> None:
    outcome = exceeded(session.run("kept = []\nwhile True: kept.append(bytearray(1 << 20))"))
    assert (outcome.limit, outcome.allowed) == ("memory_bytes", 128 * MiB)
    assert_lives(session)


def test_one_absurd_allocation_is_a_memory_error_that_can_be_caught(session: Session) -> None:
    outcome = session.run("try: bytearray(1 << 40)\nexcept MemoryError: y = 1")
    assert (outcome.status, outcome.state) == ("completed", "kept")
    assert session.run("x, y").text == "(41, 1)"


def test_an_uncaught_memory_error_is_the_memory_limit(session: Session) -> None:
    outcome = exceeded(session.run("bytearray(1 << 40)"))
    assert (outcome.limit, outcome.state) == ("memory_bytes", "kept")
    assert_lives(session)


@pytest.mark.parametrize(
    "code", ["raise MemoryError('by hand')", "-" * 10**5 + "1"], ids=["by hand", "deep source"]
)
def test_a_memory_error_without_a_limit_is_an_exception_as_any_other(
    session: Session, code: str
) -> None:
    outcome = session.run(code)
    assert (outcome.status, outcome.state) == ("raised", "kept")
    assert_lives(session)


def test_a_call_may_lower_the_memory_limit_for_itself(session: Session) -> None:
    take = "m = mmap.mmap(-1, 80 << 20)\nm.write(bytes(80 << 20))\ntime.sleep(0.15)\nm.close()"
    lowered = exceeded(session.run(take, limits=Limits(memory_bytes=64 * MiB)))
    assert (lowered.limit, lowered.allowed) == ("memory_bytes", 64 * MiB)
    assert session.run(take).status == "completed"


def test_a_call_that_allows_less_than_the_session_holds_is_told_so(session: Session) -> None:
    session.run("held = bytearray(b'x') * (80 << 20)")
    outcome = exceeded(session.run("x = 0\ntime.sleep(1)", limits=Limits(memory_bytes=64 * MiB)))
    assert (outcome.limit, outcome.allowed) == ("memory_bytes", 64 * MiB)
    assert outcome.observed > 64 * MiB
    assert session.run("x, len(held)").text == f"(41, {80 * MiB})"
    assert session.run("del held; x", limits=Limits(memory_bytes=120 * MiB)).text == "41"
    assert session.run("x", limits=Limits(memory_bytes=64 * MiB)).text == "41"


def test_a_call_cannot_raise_what_the_jail_was_built_with(session: Session) -> None:
    with pytest.raises(PolicyError, match=r"limits\.memory_bytes"):
        session.run("1", limits=Limits(memory_bytes=256 * MiB))
    with pytest.raises(PolicyError, match=r"limits\.processes"):
        session.run("1", limits=Limits(processes=13))
    assert_lives(session)


# ---- output -------------------------------------------------------------------------------------


def test_a_flood_of_output_ends_the_snippet_and_keeps_head_and_tail(session: Session) -> None:
    outcome = exceeded(session.run("print('first')\nwhile True: print('x' * 99)"))
    assert (outcome.limit, outcome.allowed) == ("output_bytes", MiB)
    assert outcome.observed > MiB
    assert outcome.stdout.startswith("first\n")
    cut = outcome.truncated.stdout
    assert cut.kept_bytes <= 16 * KiB
    assert cut.kept_bytes + cut.dropped_bytes == outcome.usage.written_bytes
    assert_lives(session)


def test_both_streams_count_together(session: Session) -> None:
    outcome = exceeded(
        session.run("while True: os.write(1, b'x' * 4096); os.write(2, b'y' * 4096)")
    )
    assert outcome.limit == "output_bytes"
    assert outcome.truncated.stdout.dropped_bytes > 0
    assert outcome.truncated.stderr.dropped_bytes > 0


def test_displays_count_as_output_and_those_past_the_limit_are_left_out(session: Session) -> None:
    shown = "display({'text/plain': 'é' * 100_000}, raw=True)"
    outcome = exceeded(session.run(f"while True: {shown}"))
    assert (outcome.limit, outcome.allowed) == ("output_bytes", MiB)
    assert MiB < outcome.observed
    assert [len(bundle["text/plain"]) for bundle in outcome.displays] == [100_000] * 5
    assert session.run(f"for _ in range(5): {shown}").status == "completed"


# ---- processes and descriptors ------------------------------------------------------------------


def test_forks_past_the_limit_of_processes_fail(session: Session) -> None:
    outcome = exceeded(session.run("while os.fork(): pass\nsignal.pause()"))
    assert (outcome.limit, outcome.allowed) == ("processes", 12)


def test_threads_past_the_limit_of_processes_fail(session: Session) -> None:
    outcome = exceeded(
        session.run(
            "while True: threading.Thread(target=time.sleep, args=(60,), daemon=True).start()"
        )
    )
    assert (outcome.limit, outcome.allowed) == ("processes", 12)


def test_open_files_past_the_limit_are_an_error_of_the_guest(session: Session) -> None:
    outcome = session.run("kept = []\nwhile True: kept.append(open('/dev/null'))")
    assert isinstance(outcome, Raised)
    assert outcome.error.type == "OSError"
    assert "Too many open files" in outcome.error.message
    following = session.run("kept.clear()")
    assert (following.status, following.survives) == ("completed", False)
    assert following.survives_reason == "the session has as many open files as it may have"
    assert session.run("x + 1").survives
    assert_lives(session)


# ---- disk ---------------------------------------------------------------------------------------


def test_more_files_than_the_workspace_holds_are_an_error_of_the_guest(
    limited: Sandbox, session: Session
) -> None:
    outcome = session.run("for number in range(200): open(str(number), 'w')")
    if limited.policy.tier == "namespaces":
        # No number of bytes was exceeded: the error is the whole truth.
        assert isinstance(outcome, Raised)
        assert (outcome.error.type, outcome.state) == ("OSError", "kept")
        assert "No space left" in outcome.error.message
    else:
        # On the host's disk each file counts with its share of the bytes.
        assert exceeded(outcome).limit == "disk_bytes"
    assert session.run("for name in os.listdir(): os.remove(name)").status == "completed"
    assert_lives(session)


def test_one_file_past_the_size_of_the_workspace_ends_in_an_error(session: Session) -> None:
    outcome = session.run("open('big', 'wb').write(bytes(3 << 20))")
    if isinstance(outcome, LimitExceeded):
        assert (outcome.limit, outcome.allowed) == ("disk_bytes", MiB)
    else:
        assert isinstance(outcome, Raised)
        assert outcome.error.type == "OSError"
    assert len(session.get("big")) <= MiB
    assert_lives(session)
