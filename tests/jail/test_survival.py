"""Variables outlive every kind of death of the process that holds them, or the loss is told."""

import os
import sys
from functools import partial
from typing import NamedTuple

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    multiple,
    precondition,
    rule,
    run_state_machine_as_test,
)

from sandbox import Limits, Policy, Sandbox, Session
from sandbox.outcome import Completed, Died, LimitExceeded, Outcome, Raised
from sandbox.session.checkpoints import Checkpoint
from tests.jail.corpus import Tier

MiB = 1024 * 1024
KILLS_IN_A_ROW: dict[Tier, int] = {"namespaces": 1000, "landlock": 250}
NAMES = ("a", "b", "c")


class Death(NamedTuple):
    """A snippet that does not end by itself, and how the outcome must tell it."""

    name: str
    code: str
    ending: str
    limits: Limits | None = None


IGNORE_INTERRUPTS = "import signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\n"
DEATHS = (
    Death(
        "of wall time",
        IGNORE_INTERRUPTS + "import time\nwhile True: time.sleep(9)",
        "limit_exceeded wall_s",
        Limits(wall_s=0.1, grace_s=0.05),
    ),
    Death(
        "of CPU time",
        IGNORE_INTERRUPTS + "while True: pass",
        "limit_exceeded cpu_s",
        Limits(cpu_s=0.1, grace_s=0.05),
    ),
    Death(
        "of memory, killed by the kernel or the meter",
        "import mmap\npages = mmap.mmap(-1, 200 << 20)\npages.write(bytes(200 << 20))\n"
        "import time\ntime.sleep(9)",
        "limit_exceeded memory_bytes",
        Limits(memory_bytes=96 * MiB),
    ),
    Death("of a bad address", "import ctypes\nctypes.string_at(8)", "died SIGSEGV"),
    Death("by os._exit", "import os\nos._exit(7)", "died exit 7"),
    Death("by os._exit with success", "import os\nos._exit(0)", "died exit 0"),
    Death(
        "by os._exit of a thread",
        "import os, threading\nt = threading.Thread(target=os._exit, args=(3,))\n"
        "t.start()\nt.join()",
        "died exit 3",
    ),
    Death("by abort", "import os\nos.abort()", "died SIGABRT"),
    Death("by its own signal", "import os, signal\nos.kill(os.getpid(), 9)", "died SIGKILL"),
    Death(
        "of a stack overflow in C",
        "import ctypes, sys\nsys.setrecursionlimit(10 ** 9)\nkind = ctypes.CFUNCTYPE(None)\n"
        "@kind\ndef fall(): fall()\nfall()",
        "died SIGSEGV",
    )
    if sys.version_info < (3, 12)  # Later ones raise RecursionError before there is one.
    else Death("of a null pointer", "import ctypes\nctypes.string_at(0)", "died SIGSEGV"),
    Death("by another program", "import os\nos.execv('/bin/sh', ['sh', '-c', 'exit 5'])", "died"),
    Death("of closed descriptors", "import os\nos.closerange(0, 256)", "died"),
)
BEFORE = """
import json
keep, notes = [1, 2, 3], open("notes.txt", "w+")
notes.write("kept")
notes.flush()
"""
AFTER = "keep, json.dumps(keep), notes.tell(), notes.closed, open('notes.txt').read()"


def ending_of(outcome: Outcome) -> str:
    if isinstance(outcome, LimitExceeded):
        return f"limit_exceeded {outcome.limit}"
    if isinstance(outcome, Died):
        return f"died {outcome.signal or f'exit {outcome.exit_code}'}"
    return outcome.status


@pytest.mark.parametrize("death", DEATHS, ids=lambda death: death.name)
def test_variables_imports_and_open_files_outlive_a_death(session: Session, death: Death) -> None:
    assert session.run(BEFORE).status == "completed"

    outcome = session.run(f"keep.append(4)\ndel json\n{death.code}", limits=death.limits)

    assert ending_of(outcome).startswith(death.ending), outcome
    assert (outcome.state, outcome.survives, outcome.survives_reason) == ("rolled_back", True, "")
    following = session.run(AFTER)
    assert following.text == "([1, 2, 3], '[1, 2, 3]', 4, False, 'kept')"
    assert following.state == "kept"


def test_an_exit_in_a_thread_ends_only_the_thread(session: Session) -> None:
    outcome = session.run(
        "import sys, threading\nx = 1\n"
        "t = threading.Thread(target=sys.exit, args=(3,))\nt.start()\nt.join()"
    )
    assert (outcome.status, outcome.state) == ("completed", "kept")
    assert session.run("x").text == "1"


def test_an_interrupt_keeps_what_was_done_so_far(session: Session) -> None:
    outcome = session.run("done = 0\nwhile True: done += 1", limits=Limits(wall_s=0.1))
    assert isinstance(outcome, LimitExceeded)
    assert (outcome.limit, outcome.state) == ("wall_s", "kept")
    assert session.run("done > 0").text == "True"


def test_files_of_a_killed_snippet_stay_and_are_listed(session: Session) -> None:
    outcome = session.run("import os\nopen('half.csv', 'w').write('a,b')\nos._exit(1)")
    assert outcome.state == "rolled_back"
    [artifact] = outcome.artifacts
    assert (artifact.path, artifact.change, artifact.size_bytes) == ("half.csv", "made", 3)
    assert session.get("half.csv") == b"a,b"


def test_child_processes_of_a_killed_snippet_end_with_it(session: Session) -> None:
    session.run("import os, time")
    outcome = session.run(
        "if os.fork() == 0:\n    while True:\n        open('alive', 'w').write('1')\n"
        "        time.sleep(0.001)\n"
        "while not os.path.exists('alive'): time.sleep(0.001)\n"
        "os._exit(1)"
    )
    assert outcome.state == "rolled_back"
    session.run("os.remove('alive')\ntime.sleep(0.02)")
    assert session.files() == []


def test_output_before_a_death_is_given_back(session: Session) -> None:
    outcome = session.run("import os\nprint('so far', flush=True)\nos._exit(1)")
    assert outcome.stdout == "so far\n"


def test_chance_goes_on_as_if_the_killed_snippet_had_never_been(session: Session) -> None:
    session.run("import random\nrandom.seed(7)\nfirst = random.random()")
    assert session.run("random.random()\nimport os\nos._exit(1)").state == "rolled_back"
    assert session.run("random.seed(7)\nrandom.random() == first").text == "True"
    session.run("random.seed(7)\nrandom.random()")
    session.run("random.random()\nos = __import__('os')\nos._exit(1)")
    drawn = session.run("random.random()").text
    session.run("random.seed(7)\nrandom.random()")
    assert session.run("random.random()").text == drawn


# ---- what a copy would not be faithful of -----------------------------------------------------


def survival_of(outcome: Outcome) -> tuple[bool, str]:
    return outcome.survives, outcome.survives_reason


def test_a_session_with_a_live_thread_says_so_until_it_has_ended(session: Session) -> None:
    session.run(
        "import threading\nstop = threading.Event()\nt = threading.Thread(target=stop.wait)\n"
        "t.start()\nx = 1"
    )
    reason = (
        False,
        "the session has live Python threads (Thread-1 (wait)):"
        " join them, or let them end, before the snippet ends",
    )
    assert survival_of(session.run("x += 1")) == reason
    assert survival_of(session.run("stop.set(); t.join()")) == reason
    assert survival_of(session.run("x")) == (True, "")
    assert session.run("import os\nos._exit(1)").state == "rolled_back"
    assert session.run("x").text == "2"


def test_a_snippet_that_is_killed_in_place_says_why_it_had_no_copy(session: Session) -> None:
    session.run("import os, threading\nthreading.Thread(target=threading.Event().wait).start()")
    outcome = session.run("os._exit(1)")
    assert (outcome.state, survival_of(outcome)) == (
        "lost",
        (
            False,
            "the session has live Python threads (Thread-1 (wait)):"
            " join them, or let them end, before the snippet ends",
        ),
    )


def test_a_session_with_a_child_says_so_until_it_was_waited_for(
    session: Session, tier: str
) -> None:
    forked = session.run("import os, time\nchild = os.fork()\nif child == 0: time.sleep(99)\nchild")
    session.run("x = 1")
    named = f" ({forked.text}): wait for it, or end it" if tier == "namespaces" else ""
    reason = (False, f"the session has a child process of its own{named}")
    assert survival_of(session.run("x += 1")) == reason
    assert survival_of(session.run("os.kill(child, 9)")) == reason
    assert survival_of(session.run("os.waitpid(child, 0)[1]")) == reason
    assert survival_of(session.run("x")) == (True, "")
    assert session.run("os._exit(1)").state == "rolled_back"
    assert session.run("x").text == "2"


LEAVE_A_THREAD = "import os, threading\nthreading.Thread(target=threading.Event().wait).start()\n"


def test_a_death_without_a_copy_loses_variables_and_no_files(session: Session) -> None:
    session.run(LEAVE_A_THREAD + "x = 1\nopen('a.txt', 'w').write('a')\nos.mkdir('sub')")
    outcome = session.run(
        "open('sub/b', 'w').write('b')\nopen(os.environ['TMPDIR'] + '/c', 'w').write('c')\n"
        "os._exit(4)"
    )
    assert isinstance(outcome, Died)
    assert (outcome.exit_code, outcome.state, outcome.survives) == (4, "lost", False)
    assert outcome.files_left == ("a.txt", "sub/b", "/tmp/c")
    assert session.is_live
    assert (session.get("sub/b"), session.files()) == (b"b", ["a.txt", "sub/b"])
    following = session.run(
        "import os\nc = open(os.environ['TMPDIR'] + '/c').read()\n"
        "'x' in globals(), open('a.txt').read(), c"
    )
    assert (following.text, following.state) == ("(False, 'a', 'c')", "kept")
    assert (following.survives, following.artifacts, following.files_left) == (True, (), ())
    assert session.run("x = 2\nimport os\nos._exit(1)").state == "rolled_back"


CHANGED = "os.path.getmtime('script.sh')"
SHAPE = """import os, stat
[(name, oct(stat.S_IMODE(os.lstat(name).st_mode)), os.path.islink(name) and os.readlink(name))
 for name in sorted(os.path.join(where, one).removeprefix("./")
                    for where, below, files in os.walk(".") for one in below + files)]"""


def test_a_lost_session_keeps_directories_links_modes_and_times(
    session: Session, tier: Tier
) -> None:
    session.run(
        LEAVE_A_THREAD + "os.makedirs('empty/below'); os.mkdir('shut')\n"
        "for name in ('script.sh', 'shut/inner', 'plain'): open(name, 'w').close()\n"
        "os.chmod('script.sh', 0o750); os.utime('script.sh', (1e9, 1e9)); os.chmod('shut', 0o500)\n"
        "os.symlink('script.sh', 'link'); os.symlink('/nowhere/at/all', 'empty/dangling')"
    )
    before, changed = session.run(SHAPE).text, session.run(CHANGED).text
    assert session.run("os._exit(1)").state == "lost"
    after = session.run(SHAPE)
    assert (after.text, after.state) == (before, "kept")
    assert session.run(CHANGED).text == changed
    if tier == "namespaces" or os.getuid() == 0:
        # A plain user's session without namespaces has no id of its own, and may set no times.
        assert changed == "1000000000.0"


def put_and_read(session: Session) -> object:
    session.put("b.txt", "b")
    return session.run("open('b.txt').read()").text


NEXT_CALLS = {
    "a command": (lambda session: session.exec("cat a.txt").text, "a"),
    "a file": (put_and_read, "'b'"),
    "a checkpoint": (lambda session: session.checkpoint().snippet, 2),
}


@pytest.mark.parametrize("name", NEXT_CALLS)
def test_a_lost_session_goes_on_with_any_call(session: Session, name: str) -> None:
    call, right = NEXT_CALLS[name]
    session.run("open('a.txt', 'w').write('a')\n" + LEAVE_A_THREAD)
    assert session.run("os._exit(1)").state == "lost"
    assert call(session) == right
    assert session.run("open('a.txt').read()").text == "'a'"


def test_a_session_that_was_lost_and_is_not_used_again_is_closed(box: Sandbox) -> None:
    with box.session() as session:
        session.run(LEAVE_A_THREAD)
        assert session.run("os._exit(1)").state == "lost"


def test_a_snippet_that_kills_its_own_copy_loses_the_session(session: Session) -> None:
    outcome = session.run("import os\nos.kill(-1, 9)\nos._exit(0)")
    assert (outcome.status, outcome.state) == ("died", "lost")
    assert session.run("'os' in globals()").text == "False"


def test_pools_of_native_threads_do_not_keep_a_session_from_surviving(session: Session) -> None:
    use = "float((numpy.ones((200, 200)) @ numpy.ones((200, 200))).sum())"
    assert session.run(f"import numpy\n{use}").text == "8000000.0"
    outcome = session.run(f"{use}\nimport os\nos._exit(1)")
    assert (outcome.state, outcome.survives) == ("rolled_back", True)
    following = session.run(use)
    assert (following.text, following.survives) == ("8000000.0", True)


def test_the_copy_is_no_child_that_a_snippet_sees(session: Session) -> None:
    outcome = session.run("import os\nos.waitpid(-1, 0)")
    assert isinstance(outcome, Raised)
    assert outcome.error.type == "ChildProcessError"


COPIES_LEFT = """
import ctypes
libc, left = ctypes.CDLL(None), 0
WNOHANG, WALL = 1, 0x40000000
while libc.wait4(-1, None, WNOHANG | WALL, None) > 0: left += 1
left
"""


def test_copies_that_have_ended_are_not_left_behind(session: Session) -> None:
    for _ in range(9):
        session.run("1")
    # That of the snippet before may end while this one runs.
    assert session.run(COPIES_LEFT).text in ("0", "1", "2")
    assert session.run("2").survives


OWN_NUMBER = """
import ctypes, threading
address = ctypes.c_size_t()
ctypes.CDLL(None).prctl(40, ctypes.byref(address), 0, 0, 0)  # PR_GET_TID_ADDRESS
kept = ctypes.c_int.from_address(address.value).value if address.value else None
kept in (None, threading.get_native_id())
"""


def test_a_copy_that_goes_on_is_a_process_in_every_respect(session: Session) -> None:
    assert session.run(OWN_NUMBER).text == "True"
    for _ in range(2):
        assert session.run("import os\nos._exit(1)").state == "rolled_back"
        assert session.run(OWN_NUMBER).text == "True"
        started = (
            "import threading\ndone = []\none = threading.Thread(target=done.append, args=[1])"
        )
        assert session.run(f"{started}\none.start()\none.join()\ndone").text == "[1]"
        assert session.run("import subprocess\nsubprocess.run(['true']).returncode").text == "0"
        alone = session.run("import os\nos.wait()")
        assert isinstance(alone, Raised)
        assert alone.error.type == "ChildProcessError"


def test_the_process_stays_the_same_as_long_as_it_lives(session: Session) -> None:
    first = session.run("import os\nos.getpid()").text
    assert session.run("os.getpid()").text == first
    session.run("os._exit(1)")
    second = session.run("os.getpid()").text
    assert second != first
    assert session.run("os.getpid()").text == second


def test_a_policy_without_survival_loses_the_session_at_once(tier: Tier) -> None:
    with Sandbox(Policy(tier=tier, survive=False), pool_size=0) as box, box.session() as session:
        outcome = session.run("x = 1")
        assert survival_of(outcome) == (False, "")
        assert session.run("import os\nos._exit(1)").state == "lost"
        assert session.run("'x' in globals()").text == "False"


# ---- many, and in any order ------------------------------------------------------------------


def test_a_thousand_kills_in_a_row_lose_nothing(session: Session, tier: Tier) -> None:
    session.run("import os\nlived, made, notes = 7, bytearray(1 << 20), open('notes', 'w+')")
    # A snippet that does not find all as it was raises, and does not get as far as its death.
    lethal = (
        "assert (lived, len(made), notes.tell()) == (7, 1 << 20, 0)\n"
        "lived = -1; made.clear(); notes.close()\n"
    )
    for number in range(KILLS_IN_A_ROW[tier]):
        death = ("os._exit(1)", "os.kill(os.getpid(), 9)")[number % 2]
        outcome = session.run(lethal + death)
        assert (outcome.status, outcome.state) == ("died", "rolled_back"), number
    assert session.run("lived, len(made), notes.tell()").text == "(7, 1048576, 0)"
    assert session.run("lived += 1; lived").text == "8"


class SessionMachine(RuleBasedStateMachine):
    """A session and a plain model of its variables take the same steps."""

    checkpoints = Bundle("checkpoints")

    def __init__(self, box: Sandbox) -> None:
        super().__init__()
        self.box = box
        self.model: dict[str, int] = {}
        self.has_thread = False

    @initialize()
    def open(self) -> None:
        self.session = self.box.session()
        assert self.session.run("import os, threading").status == "completed"

    @rule(name=st.sampled_from(NAMES), value=st.integers(0, 9))
    def assign(self, name: str, value: int) -> None:
        assert isinstance(self.session.run(f"{name} = {value}"), Completed)
        self.model[name] = value

    @precondition(lambda self: self.model)
    @rule(data=st.data())
    def drop(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.model)))
        assert isinstance(self.session.run(f"del {name}"), Completed)
        del self.model[name]

    @rule(name=st.sampled_from(NAMES), value=st.integers(10, 19))
    def raise_half_way(self, name: str, value: int) -> None:
        outcome = self.session.run(f"{name} = {value}\n1 / 0")
        assert isinstance(outcome, Raised)
        assert outcome.state == "kept"
        self.model[name] = value

    @precondition(lambda self: not self.has_thread)
    @rule(
        name=st.sampled_from(NAMES),
        death=st.sampled_from(["os._exit(1)", "os.kill(os.getpid(), 9)", "os.abort()"]),
    )
    def die(self, name: str, death: str) -> None:
        outcome = self.session.run(f"{name} = -1\n{death}")
        assert (outcome.status, outcome.state) == ("died", "rolled_back")

    @rule(target=checkpoints)
    def checkpoint(self) -> object:
        if self.has_thread:
            return multiple()
        return self.session.checkpoint(), dict(self.model)

    @rule(mark=checkpoints)
    def rollback(self, mark: tuple[Checkpoint, dict[str, int]]) -> None:
        known = [state.checkpoint for state in self.session.checkpoints()]
        if mark[0] in known:
            self.session.rollback(mark[0])
            self.model = dict(mark[1])
            self.has_thread = False

    @precondition(lambda self: not self.has_thread)
    @rule()
    def start_thread(self) -> None:
        self.session.run("stop = threading.Event(); threading.Thread(target=stop.wait).start()")
        self.has_thread = True

    @precondition(lambda self: self.has_thread)
    @rule()
    def end_thread(self) -> None:
        self.session.run("stop.set()\nwhile threading.active_count() > 1: pass")
        self.has_thread = False

    @invariant()
    def variables_are_those_of_the_model(self) -> None:
        if hasattr(self, "session"):
            outcome = self.session.run(f"[globals().get(name) for name in {NAMES}]")
            assert outcome.text == repr([self.model.get(name) for name in NAMES])
            assert outcome.survives is not self.has_thread

    def teardown(self) -> None:
        if hasattr(self, "session"):
            self.session.close()


def test_any_order_of_deaths_checkpoints_and_rollbacks_keeps_the_variables(box: Sandbox) -> None:
    run_state_machine_as_test(
        partial(SessionMachine, box),  # type: ignore[arg-type]
        settings=settings(
            max_examples=6,
            stateful_step_count=10,
            deadline=None,
            derandomize=True,
            suppress_health_check=list(HealthCheck),
        ),
    )
