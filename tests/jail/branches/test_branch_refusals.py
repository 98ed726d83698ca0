"""What a branch would go on sharing is refused by name until it is gone."""

import pytest

from sandbox import (
    CopyRefused,
    Limits,
    Policy,
    Sandbox,
    Session,
)
from sandbox.outcome import Raised
from tests.jail.branching import counting_by, text

REFUSALS = {
    "a thread": (
        "stop = threading.Event(); t = threading.Thread(target=stop.wait); t.start()",
        "stop.set(); t.join()",
        "live Python threads",
    ),
    "a child": (
        "child = os.fork()\nif not child: time.sleep(60); os._exit(0)",
        "os.kill(child, 9); os.waitpid(child, 0)",
        "a child process",
    ),
    "a socket": ("s = socket.socket()", "s.close()", "an open socket"),
    "a pipe": ("ends = os.pipe()", "[os.close(end) for end in ends]", "an open pipe"),
    "a deleted file": (
        "f = open('/tmp/notes', 'w'); os.remove('/tmp/notes')",
        "f.close()",
        "the file /.*tmp/notes open, which is gone: close it",
    ),
    "a memory file": ("fd = os.memfd_create('m')", "os.close(fd)", "an open memory file"),
    "a watch of files": (
        "import ctypes; fd = ctypes.CDLL(None).inotify_init1(0)",
        "os.close(fd)",
        r"an open watch of files \(inotify\) \(descriptor \d+\): close it",
    ),
    "a selector of what has another name": (
        "import select; p = select.epoll(); e = os.eventfd(0); p.register(e); d = os.dup(e)"
        "; os.close(e)",
        "p.close(); os.close(d)",
        r"a selector \(epoll, descriptor \d+\) that watches what is closed",
    ),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_what_a_branch_would_go_on_sharing_is_refused_until_it_is_gone(
    session: Session, name: str
) -> None:
    make, end, why = REFUSALS[name]
    session.run("x = 1")
    made = session.run(make)
    if name == "a memory file" and isinstance(made, Raised):
        # Where no cgroup sees their pages they are refused.
        assert "Function not implemented" in made.error.message
        return
    with pytest.raises(CopyRefused, match=why):
        session.fork(2)
    assert text(session.run("x")) == "1"
    assert session.run(end).status == "completed"
    with session.fork() as branch:
        assert text(branch.run("x")) == "1"


def test_a_session_without_a_descriptor_left_says_so(session: Session) -> None:
    session.run(
        "x = 1\nfds = []\ntry:\n  while True: fds.append(os.open('/dev/null', 0))\n"
        "except OSError: pass"
    )
    with pytest.raises(CopyRefused, match="as many open files"):
        session.fork()
    session.run("[os.close(fd) for fd in fds]")
    assert text(session.run("x")) == "1"
    with session.fork() as branch:
        assert text(branch.run("x")) == "1"


@pytest.mark.parametrize("processes", range(4, 10))
def test_a_session_with_too_few_processes_for_its_branches_goes_on(processes: int) -> None:
    limits = Limits(processes=processes)
    box = Sandbox(Policy(limits=limits), pool_size=0)
    with counting_by("meter"), box, box.session() as session:
        session.run("x = 1")
        with pytest.raises(CopyRefused, match="no process could be made for a copy"):
            session.fork(12)
        assert text(session.run("x")) == "1"
        with session.fork() as branch:
            assert text(branch.run("x")) == "1"


def test_a_tier_without_namespaces_has_no_branches_and_goes_on() -> None:
    with Sandbox(Policy(tier="landlock"), pool_size=1) as box, box.session() as session:
        session.run("x = 1")
        for branch_off in (session.fork, lambda: session.best_of(["x = 2"])):
            with pytest.raises(CopyRefused, match=r"the tier landlock has none.*checkpoint"):
                branch_off()
        mark = session.checkpoint()
        session.run("x = 3")
        session.rollback(mark)
        assert text(session.run("x")) == "1"
