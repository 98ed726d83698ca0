"""Commands beside the interpreter: streams, ends, limits, and what they cannot do."""

import asyncio
import os
import resource
import time

import pytest

from sandbox import (
    AsyncSandbox,
    ExecFinished,
    Limits,
    Policy,
    PolicyError,
    Sandbox,
    SessionClosed,
    Stderr,
    Stdout,
)

TIERS = ("namespaces", "landlock")
MANY_FILES = 1100
"""More than the numbers that select(2) takes."""


@pytest.fixture(scope="module", params=TIERS)
def box(request):
    with Sandbox(Policy(tier=request.param)) as made:
        yield made


@pytest.fixture
def session(box):
    with box.session() as made:
        yield made


def test_a_program_has_streams_arguments_environment_and_a_place(session):
    session.put("sub/data.csv", "a\nb\n")
    done = session.exec(
        ["sh", "-c", "wc -l < data.csv; cat; echo $A >&2; exit 3"],
        cwd="sub",
        env={"A": "1"},
        stdin=b"\xff\0",
        timeout_s=60,
    )
    assert (done.exit_code, done.signal, done.timed_out) == (3, None, False)
    assert done.stdout == b"2\n\xff\0"
    assert done.stderr == b"1\n"
    assert done.text == "2\n\ufffd\0"
    assert done.usage.wall_s > 0


def test_a_text_is_for_the_shell(session):
    assert session.exec("echo a | tr a b").stdout == b"b\n"


@pytest.mark.parametrize(
    ("command", "exit_code", "signal"),
    [
        (["no-such-program"], 127, None),
        (["/mnt"], 126, None),
        ("kill -TERM $$", None, "SIGTERM"),
        ("exit 255", 255, None),
    ],
)
def test_an_end_is_told_as_a_shell_sees_it(session, command, exit_code, signal):
    done = session.exec(command)
    assert (done.exit_code, done.signal) == (exit_code, signal)


def test_it_ends_at_its_own_time_limit_with_all_its_children(session):
    done = session.exec("sleep 60 & sleep 60", timeout_s=0.3)
    assert (done.timed_out, done.limit, done.signal) == (True, "wall_s", "SIGKILL")
    assert 0.3 <= done.usage.wall_s < 3
    assert "sleep 60" not in session.exec("ps ax -o args 2>/dev/null || true").text


def test_output_is_bounded_head_and_tail():
    policy = Policy(limits=Limits(kept_bytes=1000, output_bytes=1_000_000))
    with Sandbox(policy) as box, box.session() as session:
        done = session.exec("echo first; yes | head -c 200000; echo last")
        endless = session.exec("yes")
    assert len(done.stdout) == 1000
    assert done.stdout.startswith(b"first\n")
    assert done.stdout.endswith(b"last\n")
    assert done.truncated.stdout.dropped_bytes == 200_000 + 11 - 1000
    assert endless.limit == "output_bytes"


def test_it_runs_beside_a_snippet_and_takes_no_turn():
    async def main():
        async with AsyncSandbox() as box, box.session() as session:
            snippet = asyncio.ensure_future(session.run("import time; time.sleep(1.5); 'over'"))
            await asyncio.sleep(0.1)
            done = await session.exec("echo beside")
            assert not snippet.done()
            assert done.stdout == b"beside\n"
            assert (await snippet).text == "'over'"

    asyncio.run(main())


def test_an_interactive_program_is_written_to_and_read(session):
    process = session.popen(["python", "-iqu"])
    process.write(b"1+1\n")
    seen = b""
    while b"2\n" not in seen:
        event = process.read_event()
        assert event is not None
        if isinstance(event, Stdout):
            seen += event.data
    process.kill()
    assert process.wait().signal == "SIGKILL"
    assert not process.is_running


def test_a_stream_ends_with_its_result(session):
    events = list(session.exec_stream("echo a; sleep 0.2; echo b >&2; exit 1"))
    assert [type(event) for event in events] == [Stdout, Stderr, ExecFinished]
    assert (events[0].data, events[1].data) == (b"a\n", b"b\n")
    assert events[2].result.exit_code == 1


def test_it_outlives_a_snippet_that_is_killed_and_a_rollback(session):
    mark = session.checkpoint()
    process = session.popen("sleep 1.2; (echo from a child); echo done")
    killed = session.run("import os; x = 1; os.kill(os.getpid(), 9)")
    assert killed.state == "rolled_back"
    session.rollback(mark)
    assert process.is_running
    assert process.wait().stdout == b"from a child\ndone\n"


def test_it_ends_with_its_session(box):
    session = box.session()
    process = session.popen("sleep 600")
    assert process.is_running
    began = time.monotonic()
    session.close()
    with pytest.raises(SessionClosed):
        session.exec("true")
    assert time.monotonic() - began < 5


def test_a_branch_runs_commands_of_its_own():
    with Sandbox() as box, box.session() as session:
        session.put("a.txt", "origin")
        branch = session.fork()
        branch.exec("echo branch > a.txt")
        assert branch.exec("cat a.txt").stdout == b"branch\n"
        assert session.exec("cat a.txt").stdout == b"origin"
        branch.close()


def test_it_is_in_the_jail_of_the_session(session):
    code = (
        "import ctypes, os\n"
        "libc = ctypes.CDLL(None, use_errno=True)\n"
        "def attempt(name, *arguments):\n"
        "    return -1 if libc[name](*arguments) == -1 else 0\n"
        "print(libc.prctl(21), libc.prctl(39, 0, 0, 0, 0), attempt('unshare', 0x10000000),\n"
        "      attempt('setns', 0, 0), os.getuid() != 0)\n"
    )
    done = session.exec(["python", "-c", code])
    assert done.stdout.split() == [b"2", b"1", b"-1", b"-1", b"True"], done.stderr


def test_it_cannot_touch_init_or_write_outside(session):
    code = (
        "import os\n"
        "def attempt(work):\n"
        "    try:\n"
        "        return work()\n"
        "    except OSError as error:\n"
        "        return error.errno\n"
        "parent = os.getppid()\n"
        "print(attempt(lambda: os.kill(parent, 9)), attempt(lambda: open('/usr/x', 'w')),\n"
        "      attempt(lambda: os.setpriority(os.PRIO_PROCESS, parent, 5)))\n"
    )
    done = session.exec(["python", "-c", code])
    words = done.stdout.split()
    assert b"None" not in words, words
    assert session.run("1 + 1").text == "2"


@pytest.mark.parametrize(
    ("command", "options"),
    [
        ([], {}),
        (["a\0b"], {}),
        (["true"], {"env": {"A=B": "1"}}),
        (["true"], {"timeout_s": 0}),
        (["x" * 200_000], {}),
    ],
)
def test_a_wrong_command_is_refused_with_its_place(session, command, options):
    with pytest.raises(PolicyError):
        session.exec(command, **options)


def test_a_place_that_is_not_there_is_told(session):
    done = session.exec("true", cwd="nowhere")
    assert done.exit_code == 125
    assert b"cannot go to nowhere" in done.stderr


async def test_a_cancelled_caller_ends_its_command():
    async with AsyncSandbox() as box, box.session() as session:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await session.exec("sleep 77")
        await asyncio.sleep(0.5)
        assert "sleep 77" not in (await session.exec("ps ax -o args")).text.replace("ps ax", "")


def test_a_command_ends_where_this_process_has_very_many_open_files(session):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < MANY_FILES * 2:
        pytest.skip(f"needs {MANY_FILES * 2} open files, the hard limit is {hard}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, MANY_FILES * 2), hard))
    held = []
    try:
        held += [os.open(os.devnull, os.O_RDONLY) for _ in range(MANY_FILES)]
        assert session.exec(["echo", "here"], timeout_s=20).text == "here\n"
    finally:
        for fd in held:
            os.close(fd)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
