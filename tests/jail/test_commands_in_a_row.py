"""Commands that follow each other, whose processes init readies ahead of them."""

import json
import threading
from contextlib import contextmanager

import pytest

from sandbox import Policy, Sandbox
from sandbox.protocol.messages import TO_GUEST_CAP_BYTES
from tests.jail.hosts import descendants, init_of, wait_until

MANY = 400
"""Numbers of processes that a short-lived session may have given out."""
LOOK = f"""
import json, os
def sees(call, number):
    try:
        call(number)
    except OSError:
        return False
    return True
def changes(number):
    os.setpriority(os.PRIO_PROCESS, number, 5)
numbers = [n for n in range(2, {MANY}) if n != os.getpid()]
print(json.dumps([n for n in numbers
                  if sees(lambda n: os.kill(n, 0), n) or sees(os.pidfd_open, n)
                  or sees(lambda n: os.kill(-n, 0), n) or sees(changes, n)]))
"""


@pytest.fixture(params=("namespaces", "landlock"))
def session(request):
    with Sandbox(Policy(tier=request.param)) as box, box.session() as made:
        yield made


@pytest.fixture
def own_numbers():
    """A session whose processes have numbers of their own."""
    with Sandbox(Policy(tier="namespaces", survive=False)) as box, box.session() as made:
        yield made


def texts(session, count):
    return [session.exec(["echo", str(number)]).stdout for number in range(count)]


def test_each_has_its_own_arguments_streams_place_and_variables(session):
    session.put("sub/a.txt", "a")
    for number in range(4):
        done = session.exec(
            'cat - a.txt; echo "$N"; echo err >&2; exit $N',
            cwd="sub",
            env={"N": str(number)},
            stdin=f"{number} in ",
        )
        assert (done.exit_code, done.stderr) == (number, b"err\n")
        assert done.stdout == f"{number} in a{number}\n".encode()


def test_each_has_the_whole_jail_on_and_no_descriptor_beside_its_streams(session):
    code = (
        "import ctypes, os\n"
        "libc = ctypes.CDLL(None)\n"
        "free = os.dup(0)\n"
        "print(libc.prctl(21), libc.prctl(39, 0, 0, 0, 0), libc.setns(0, 0), free,\n"
        "      os.getsid(0) == os.getpid(), os.getuid() != 0)\n"
    )
    seen = [session.exec(["python", "-c", code]).stdout for _ in range(3)]
    assert seen == [b"2 1 -1 3 True True\n"] * 3


def test_a_program_that_is_not_there_is_told_each_time(session):
    for _ in range(3):
        done = session.exec(["no-such-program"])
        assert (done.exit_code, done.stderr) == (127, b"cellblock: no-such-program: not found\n")


def test_an_order_that_no_socket_holds_starts_all_the_same(session):
    assert len(texts(session, 3)) == 3
    word = "x" * 100_000
    assert 2 * len(word) < TO_GUEST_CAP_BYTES
    done = session.exec(["printf", "%s", word], env={"MORE": word})
    assert done.stdout == word.encode()


def test_snippets_rollbacks_and_rests_between_them_leave_no_process(session):
    mark = session.checkpoint()
    before = session.run("1").usage.processes
    for number in range(2):
        assert texts(session, 3) == [b"0\n", b"1\n", b"2\n"]
        outcome = session.run(f"x = {number}\nx")
        assert outcome.text == str(number)
        assert outcome.usage.processes <= before
        assert texts(session, 2) == [b"0\n", b"1\n"]
        session.rollback(mark)
        assert session.run("'x' in globals()").text == "False"


@contextmanager
def running(session):
    """While a snippet runs."""
    code = "open('began', 'w').close()\nimport time\nwhile True: time.sleep(0.01)"
    snippet = threading.Thread(target=session.run, args=(code,))
    snippet.start()
    try:
        wait_until(lambda: "began" in session.files(), "the snippet did not begin")
        yield
    finally:
        session.interrupt()
        snippet.join()


def test_none_waits_beside_a_snippet_and_none_is_readied(own_numbers):
    init = init_of(own_numbers)
    own_numbers.run("1")
    [interpreter] = descendants(init)
    texts(own_numbers, 3)
    assert len(descendants(init)) == 2
    with running(own_numbers):
        assert descendants(init) == [interpreter]
        texts(own_numbers, 3)
        assert descendants(init) == [interpreter]
    texts(own_numbers, 3)
    assert len(descendants(init)) == 2


def test_a_branch_can_be_made_and_has_commands_after_commands():
    with Sandbox(Policy(tier="namespaces")) as box, box.session() as session:
        texts(session, 3)
        branch = session.fork()
        assert texts(session, 3) == texts(branch, 3) == [b"0\n", b"1\n", b"2\n"]
        branch.close()


def test_none_that_waits_can_be_named(own_numbers):
    texts(own_numbers, 3)
    alone = own_numbers.exec(["python", "-c", LOOK])
    # The one that the next command becomes was forked while this one ran.
    assert own_numbers.exec(["true"]).exit_code == 0
    [interpreter] = json.loads(alone.stdout)
    assert interpreter == int(own_numbers.run("import os; os.getpid()").text)


def test_one_that_a_signal_to_all_has_stopped_or_ended_stops_no_command(own_numbers):
    own_numbers.run("import signal; signal.signal(signal.SIGUSR1, signal.SIG_IGN)")
    texts(own_numbers, 2)
    for command in ("kill -STOP -1", "kill -CONT -1", "sleep 0.1; kill -USR1 -1"):
        assert own_numbers.exec(command, timeout_s=60).exit_code == 0
        assert own_numbers.exec("echo on", timeout_s=60).stdout == b"on\n"
    own_numbers.exec("kill -CONT -1")
    assert own_numbers.run("1 + 1").text == "2"
