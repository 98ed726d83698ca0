"""Sessions in kept jails: each finds what a fresh one finds, whatever was there before it."""

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator
from typing import Any

import psutil
import pytest

from sandbox import (
    AsyncKeptJails,
    AsyncSandbox,
    Completed,
    Died,
    LimitExceeded,
    Limits,
    Outcome,
    Policy,
    PolicyError,
    Raised,
    SandboxError,
    SessionClosed,
    SessionLost,
    outcome_to_json,
    probe,
)
from sandbox.processes import cgroup

LOOK = """
import fcntl, json, os, re, resource, signal, socket, sys, threading, time

def state():
    roots = ('/mnt/data', '/tmp', '/dev/shm', os.environ['HOME'], '/dev', '/mnt', '/')
    own = roots[:4]
    now = time.time()
    born = float(open('/proc/self/stat').read().rpartition(')')[2].split()[19])
    found = {
        'files': {root: sorted(os.listdir(root)) for root in own},
        'modes': {root: (lambda s: (oct(s.st_mode), s.st_uid, s.st_gid))(os.stat(root))
                  for root in roots},
        'attributes': {root: os.listxattr(root) for root in own},
        'young': all(now - max(s.st_mtime, s.st_ctime, s.st_atime) < 30
                     for s in map(os.stat, own)),
        'inodes': {root: os.statvfs(root).f_ffree for root in own},
        'blocks': {root: os.statvfs(root).f_bfree for root in own},
        'processes': [name for name in os.listdir('/proc') if name.isdigit()],
        'pid': (os.getpid(), os.getppid(), os.getpgid(0), os.getsid(0)),
        'descriptors': {fd: (fcntl.fcntl(fd, fcntl.F_GETFL), fcntl.fcntl(fd, fcntl.F_GETFD),
                             fcntl.fcntl(fd, fcntl.F_GETOWN))
                        for fd in range(64) if os.path.exists(f'/proc/self/fd/{fd}')},
        'pipes': [fcntl.fcntl(fd, 1032) for fd in (1, 2)],
        'priority': (os.getpriority(os.PRIO_PROCESS, 0), os.nice(0),
                     sorted(os.sched_getaffinity(0)), os.sched_getscheduler(0)),
        'limits': [resource.getrlimit(getattr(resource, name)) for name in sorted(dir(resource))
                   if name.startswith('RLIMIT_')],
        'signals': ([str(signal.getsignal(number)) for number in (1, 2, 10, 14, 15, 17)],
                    str(signal.pthread_sigmask(signal.SIG_BLOCK, [])),
                    sorted(map(int, signal.sigpending()))),
        'timers': signal.getitimer(signal.ITIMER_REAL),
        'place': (os.getcwd(), os.umask(0o022), socket.gethostname(), os.getuid(), os.getgid()),
        'modules': len(sys.modules),
        'threads': threading.active_count(),
        'net': {name: open(f'/proc/self/net/{name}').read()
                for name in ('dev', 'snmp', 'netstat', 'sockstat', 'sockstat6', 'unix', 'tcp')
                if os.path.exists(f'/proc/self/net/{name}')},
        'oom': open('/proc/self/oom_score_adj').read(),
        'builtins': sorted(vars(__builtins__) if not isinstance(__builtins__, dict)
                           else __builtins__),
    }
    # What counts for all of the host is none of the namespace's.
    found['net']['sockstat'] = re.sub('(orphan|alloc|mem) [0-9]+', '', found['net']['sockstat'])
    found['descriptors'] = {str(key): value for key, value in found['descriptors'].items()}
    return found
print(json.dumps(state(), sort_keys=True))
"""

MESSES = {
    "files": "import os\nfor d in ('.', '/tmp', '/dev/shm', os.environ['HOME']):\n"
    "    open(d + '/left', 'w').write('x' * 100000)\n    os.mkdir(d + '/directory')",
    "modes of the roots": "import os\nfor d in ('/mnt/data', os.environ['HOME']):\n"
    "    os.chmod(d, 0o000)",
    "times of the roots": "import os\nfor d in ('/mnt/data', os.environ['HOME']):\n"
    "    os.utime(d, (1, 1))",
    "attributes": "import os\ntry:\n    os.setxattr('/mnt/data', 'user.mark', b'x')\n"
    "except OSError:\n    pass",
    "flags of the streams": "import fcntl, os\nfor fd in (0, 1, 2):\n"
    "    fcntl.fcntl(fd, fcntl.F_SETFL, os.O_NONBLOCK | os.O_APPEND)\n"
    "try:\n    fcntl.fcntl(1, 1031, 4096)\n    fcntl.fcntl(1, fcntl.F_SETOWN, os.getpid())\n"
    "except OSError:\n    pass",
    "priority and affinity": "import os\nos.nice(10)\nos.sched_setaffinity(0, {0})\n"
    "for which in (os.PRIO_USER, os.PRIO_PGRP, os.PRIO_PROCESS):\n"
    "    for who in (0, 1, os.getuid()):\n"
    "        try:\n            os.setpriority(which, who, 19)\n"
    "        except OSError:\n            pass",
    "limits of others": "import os, resource\nfor pid in (0, 1, os.getppid()):\n"
    "    for which in (resource.RLIMIT_NOFILE, resource.RLIMIT_CPU, resource.RLIMIT_CORE):\n"
    "        try:\n            resource.prlimit(pid, which, (17, 17))\n"
    "        except (OSError, ValueError):\n            pass",
    "signals to all": "import os, signal\nfor pid in (1, os.getppid() or 1, -1):\n"
    "    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGSTOP, signal.SIGKILL):\n"
    "        try:\n            os.kill(pid, number)\n"
    "        except OSError:\n            pass",
    "processes that hide": "import os, signal, time\nfor _ in range(3):\n"
    "    if os.fork() == 0:\n        os.setsid()\n"
    "        for number in range(1, 32):\n            try:\n"
    "                signal.signal(number, signal.SIG_IGN)\n"
    "            except (OSError, ValueError):\n                pass\n"
    "        if os.fork():\n            os._exit(0)\n        time.sleep(600)",
    "children of its parent": "import ctypes, time\nlibc = ctypes.CDLL(None)\n"
    "for _ in range(3):\n"
    "    if libc.syscall(56, 0x8000 | 17, 0, 0, 0, 0) == 0:\n        time.sleep(600)",
    "an abstract socket": "import socket\ns = socket.socket(socket.AF_UNIX)\n"
    "s.bind('\\0left')\ns.listen()\n"
    "import os, time\nif os.fork() == 0:\n    time.sleep(600)",
    "a port": "import socket\na = socket.socket()\na.setsockopt(1, 2, 1)\n"
    "a.bind(('127.0.0.1', 4321))\na.listen()\n"
    "b = socket.create_connection(('127.0.0.1', 4321))\nc, _ = a.accept()\n"
    "c.sendall(b'x' * 5000)\nb.recv(9999)\nc.close()\nb.close()",
    "datagrams": "import socket\ns = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
    "s.bind(('127.0.0.1', 0))\ns.sendto(b'x', s.getsockname())",
    "shared memory": "import ctypes, mmap\nlibc = ctypes.CDLL(None)\n"
    "libc.shmget(1234, 4096, 0o1666)\nlibc.semget(1234, 1, 0o1666)\nlibc.msgget(1234, 0o1666)\n"
    "libc.mq_open(b'/left', 0o102, 0o666, None)",
    "timers and handlers": "import signal\nsignal.signal(signal.SIGALRM, lambda *_: None)\n"
    "signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)\n"
    "signal.pthread_sigmask(signal.SIG_BLOCK, {1, 2, 15})\nimport os\nos.umask(0)\nos.chdir('/')",
    "the interpreter": "import builtins, sys, json, os\nbuiltins.left = 1\nbuiltins.print = None\n"
    "sys.modules['left'] = sys\njson.dumps = None\nos.getpid = lambda: 1\n"
    "sys.settrace(lambda *_: None)\nsys.setrecursionlimit(200)",
    "a score for the killer": "try:\n    open('/proc/self/oom_score_adj', 'w').write('1000')\n"
    "except OSError:\n    pass",
    "its own end": "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)",
    "a broken channel": "import os\nfor fd in range(3, 64):\n"
    "    try:\n        os.write(fd, b'\\xff' * 64)\n    except OSError:\n        pass",
}
"""What a session may do to those that come after it, by what it aims at."""


@pytest.fixture(scope="module", autouse=True)
def _needs_namespaces() -> None:
    for missing in probe().missing_for("namespaces"):
        pytest.skip(f"{missing.layer}: {missing.seen}. {missing.remedy}")
    if cgroup.find() is None:
        pytest.skip("no cgroup can be made here: run as root, or delegate one (Delegate=yes)")


@pytest.fixture
async def jails() -> AsyncIterator[AsyncKeptJails]:
    async with AsyncSandbox(Policy(survive=False), pool_size=0) as box, box.kept_jails() as opened:
        yield opened


async def _run(jails: AsyncKeptJails, code: str, **limits: Any) -> Outcome:
    async with jails.session() as session:
        return await session.run(code, limits=Limits(**limits) if limits else None)


async def _only_jail(jails: AsyncKeptJails) -> Any:
    """The one jail that there is, once it is ready for the next session."""
    while jails._clearing:
        await asyncio.wait(set(jails._clearing))
    [jail] = jails._idle
    return jail


def _first_process(jail: Any) -> psutil.Process:
    """The first process of the session that is there, or ready, in `jail`."""
    return psutil.Process(jail._worker.init.pid)


def _holder(jail: Any) -> psutil.Process:
    found = _first_process(jail).parent()
    assert found is not None
    return found


async def _sight(jails: AsyncKeptJails) -> str:
    outcome = await _run(jails, LOOK)
    assert isinstance(outcome, Completed), outcome_to_json(outcome)
    return outcome.stdout


async def test_one_jail_serves_one_session_after_the_other(jails: AsyncKeptJails) -> None:
    assert (await _run(jails, "x = 1")).status == "completed"
    jail = await _only_jail(jails)
    assert (await _run(jails, "x")).status == "raised"
    assert await _only_jail(jails) is jail


async def test_all_layers_of_a_fresh_jail_hold() -> None:
    async with AsyncSandbox(Policy(survive=False), pool_size=0) as box, box.kept_jails() as jails:
        async with box.session() as fresh:
            expected = fresh.enforcement
        async with jails.session() as session:
            assert session.enforcement == expected


@pytest.mark.parametrize("mess", MESSES.values(), ids=MESSES)
async def test_nothing_of_a_session_reaches_the_next(jails: AsyncKeptJails, mess: str) -> None:
    before = await _sight(jails)
    jail = await _only_jail(jails)
    await _run(jails, mess, wall_s=5)
    assert await _only_jail(jails) is jail
    assert await _sight(jails) == before
    assert await _only_jail(jails) is jail


async def test_what_a_fresh_jail_shows_is_shown_here() -> None:
    """All but the number of the parent, which is out of sight."""
    async with AsyncSandbox(Policy(survive=False), pool_size=0) as box, box.kept_jails() as jails:
        async with box.session() as session:
            fresh = json.loads((await session.run(LOOK)).stdout)
        kept = json.loads(await _sight(jails))
    for found in (fresh, kept):
        found["descriptors"] = sorted(found["descriptors"].values())
        # A fresh session has met its init on a pair of sockets there.
        del found["net"]["unix"], found["net"]["sockstat"]
    different = {name for name in fresh if fresh[name] != kept[name]}
    assert different <= {"pid"}
    assert kept["pid"][1] == 0


async def test_numbers_reach_no_process_but_its_own(jails: AsyncKeptJails) -> None:
    outcome = await _run(
        jails,
        "import os, signal\nfound = {}\n"
        "for pid in (1, *range(3, 400)):\n"
        "    try:\n        os.kill(pid, 0)\n        found[pid] = 'reached'\n"
        "    except OSError as error:\n        found[pid] = type(error).__name__\n"
        "sorted(set(found.values())), found[1]",
    )
    assert outcome.text == "(['PermissionError', 'ProcessLookupError'], 'PermissionError')"


async def test_each_has_an_id_of_its_own_on_the_host(jails: AsyncKeptJails) -> None:
    if os.getuid() != 0:
        pytest.skip("ids of their own are given by root alone")
    seen = set()
    for _ in range(3):
        async with jails.session() as session:
            await session.run("1")
            [jail] = [source.jail for source in jails._open]
            first = _first_process(jail)
            [process] = [one for one in _holder(jail).children() if one.pid != first.pid]
            seen.add(process.uids().real)
    assert len(seen) == 3


@pytest.mark.parametrize(
    ("code", "limits", "said"),
    [
        pytest.param("while True: pass", {"cpu_s": 0.2}, "cpu_s", id="cpu"),
        pytest.param("import time; time.sleep(9)", {"wall_s": 0.2}, "wall_s", id="wall"),
        pytest.param(
            "x = bytearray(900 << 20); y = bytearray(900 << 20)", {}, "memory_bytes", id="memory"
        ),
        pytest.param(
            "while True: print('x' * 9999)", {"output_bytes": 10_000}, "output_bytes", id="output"
        ),
    ],
)
async def test_limits_hold_as_ever_and_the_jail_goes_on(
    jails: AsyncKeptJails, code: str, limits: dict[str, float], said: str
) -> None:
    outcome = await _run(jails, code, **limits)
    if isinstance(outcome, LimitExceeded):
        assert outcome.limit == said
    else:  # The limit of an address space may speak first.
        assert said == "memory_bytes"
        assert outcome.status == "raised"
    assert (await _run(jails, "6 * 7")).text == "42"


async def _call(jails: AsyncKeptJails, function: str, argument: str, **limits: Any) -> Outcome:
    async with jails.session() as session:
        return await session.call(function, argument, limits=Limits(**limits) if limits else None)


async def test_a_preloaded_function_is_called_with_a_text(jails: AsyncKeptJails) -> None:
    outcome = await _call(jails, "builtins:print", "a \U0001f40d\n'")
    assert isinstance(outcome, Completed)
    assert (outcome.stdout, outcome.text) == ("a \U0001f40d\n'\n", None)
    assert outcome.state == "kept"


@pytest.mark.parametrize(
    ("function", "argument", "kind"),
    [
        ("builtins:exec", "raise LookupError('so')", "LookupError"),
        ("builtins:exec", "raise SystemExit", "SystemExit"),
        ("builtins:exec", "raise KeyboardInterrupt", "KeyboardInterrupt"),
        ("builtins:exec", "(lambda f: f(f))(lambda f: f(f))", "RecursionError"),
        ("xmlrpc.server:print", "", "KeyError"),
        ("builtins:no_such_name", "", "AttributeError"),
        ("builtins", "", "AttributeError"),
    ],
)
async def test_what_a_called_function_raises_is_told(
    jails: AsyncKeptJails, function: str, argument: str, kind: str
) -> None:
    outcome = await _call(jails, function, argument)
    assert isinstance(outcome, Raised)
    assert outcome.error.type == kind
    assert (await _run(jails, "6 * 7")).text == "42"


async def test_the_end_of_a_called_function_is_told_once_by_its_own_process(
    jails: AsyncKeptJails,
) -> None:
    code = "import os, sys\nif os.fork():\n    os.wait()\nprint('here')"
    outcome = await _call(jails, "builtins:exec", code)
    assert isinstance(outcome, Completed)
    assert outcome.stdout == "here\n" * 2


async def test_limits_hold_for_a_called_function(jails: AsyncKeptJails) -> None:
    outcome = await _call(jails, "builtins:exec", "while True: pass", cpu_s=0.2)
    assert isinstance(outcome, LimitExceeded)
    assert outcome.limit == "cpu_s"
    outcome = await _call(jails, "builtins:exec", "import os; os._exit(3)")
    assert isinstance(outcome, Died)
    assert outcome.exit_code == 3


@pytest.mark.parametrize("mess", MESSES.values(), ids=MESSES)
async def test_nothing_of_a_called_function_reaches_the_next(
    jails: AsyncKeptJails, mess: str
) -> None:
    before = await _sight(jails)
    await _call(jails, "builtins:exec", mess, wall_s=5)
    assert await _sight(jails) == before


async def test_a_call_that_cannot_be_made_is_refused() -> None:
    policy = Policy(survive=False, language="restricted")
    async with AsyncSandbox(policy, pool_size=0) as box, box.kept_jails() as jails:
        with pytest.raises(PolicyError, match="full language"):
            await _call(jails, "builtins:exec", "print(1)")
    async with AsyncSandbox(Policy(survive=False), pool_size=0) as box, box.kept_jails() as jails:
        with pytest.raises(PolicyError, match="a name has"):
            await _call(jails, "x" * 2000, "")


async def test_a_fork_bomb_ends_with_its_session(jails: AsyncKeptJails) -> None:
    await _run(
        jails, "import os\nwhile True:\n    try: os.fork()\n    except OSError: pass", wall_s=1
    )
    jail = await _only_jail(jails)
    assert jail._group.processes() <= 1  # The next session, where it is there already.
    assert (await _run(jails, "import os; os.getpid()")).text == "2"


@pytest.mark.parametrize(
    ("code", "exit_code", "number"),
    [("import os; os._exit(3)", 3, None), ("import os; os.kill(os.getpid(), 9)", None, "SIGKILL")],
)
async def test_how_a_process_ended_is_told(
    jails: AsyncKeptJails, code: str, exit_code: int | None, number: str | None
) -> None:
    outcome = await _run(jails, code)
    assert isinstance(outcome, Died)
    assert (outcome.exit_code, outcome.signal) == (exit_code, number)


async def test_a_session_that_is_ended_from_outside_is_lost(jails: AsyncKeptJails) -> None:
    async with jails.session() as session:
        await session.run("1")
        [source] = jails._open
        first = _first_process(source.jail).pid
        run = asyncio.ensure_future(session.run("import time; time.sleep(9)"))
        await asyncio.sleep(0.2)
        os.kill(first, signal.SIGKILL)
        with pytest.raises(SessionLost):
            await run
    assert (await _run(jails, "6 * 7")).text == "42"


async def test_a_jail_whose_holder_was_ended_is_not_used_again(jails: AsyncKeptJails) -> None:
    await _run(jails, "1")
    jail = await _only_jail(jails)
    await asyncio.sleep(0.1)
    _holder(jail).kill()
    await asyncio.sleep(0.3)
    found = []
    for _ in range(2):
        try:
            found.append((await _run(jails, "6 * 7")).text)
        except SandboxError:
            found.append("lost")
    assert found[-1] == "42"
    assert (await _only_jail(jails)) is not jail


async def test_many_at_a_time_have_a_jail_each(jails: AsyncKeptJails) -> None:
    async def one(number: int) -> str | None:
        async with jails.session() as session:
            await session.run(f"mine = {number}")
            await session.put("mine", str(number))
            return (await session.run("mine, open('mine').read()")).text

    found = await asyncio.gather(*map(one, range(12)))
    assert found == [f"({number}, '{number}')" for number in range(12)]


async def test_a_cancelled_caller_leaves_the_jail_to_the_next(jails: AsyncKeptJails) -> None:
    await _run(jails, "1")
    task = asyncio.ensure_future(_run(jails, "import time; time.sleep(60)"))
    await asyncio.sleep(0.3)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (await _run(jails, "6 * 7")).text == "42"


async def test_closed_ones_are_refused() -> None:
    async with AsyncSandbox(Policy(survive=False), pool_size=0) as box:
        jails = box.kept_jails()
        async with jails:
            assert (await _run(jails, "1")).text == "1"
        with pytest.raises(SessionClosed):
            await _run(jails, "1")
        assert (await box.run("print(2)")).stdout == "2\n"


@pytest.mark.parametrize("tier", ["landlock"])
async def test_without_namespaces_each_jail_is_fresh(tier: Any) -> None:
    for missing in probe().missing_for(tier):
        pytest.skip(f"{missing.layer}: {missing.seen}. {missing.remedy}")
    async with AsyncSandbox(Policy(tier=tier), pool_size=0) as box, box.kept_jails() as jails:
        assert (await _run(jails, "open('left', 'w').write('x')")).status == "completed"
        assert (await _run(jails, "import os; os.listdir('.')")).text == "[]"
        assert not jails._idle
