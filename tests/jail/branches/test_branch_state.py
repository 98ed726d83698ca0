"""A branch goes on from one moment of its origin, and shares nothing with it after."""

import pytest

from sandbox import (
    PolicyError,
    Session,
)
from sandbox.outcome import Raised
from tests.jail.branching import text


def test_a_branch_has_the_variables_of_its_origin_and_then_its_own(session: Session) -> None:
    session.run("x, kept = 1, [1, 2]")
    with session.fork() as branch:
        assert text(branch.run("x, kept")) == "(1, [1, 2])"
        branch.run("x = 2; kept.append(3)")
        session.run("x = 3; kept.clear()")
        assert text(branch.run("x, kept")) == "(2, [1, 2, 3])"
        assert text(session.run("x, kept")) == "(3, [])"


def test_a_number_asks_for_that_many_branches(session: Session) -> None:
    session.run("x = 0")
    branches = session.fork(3)
    for number, branch in enumerate(branches):
        branch.run(f"x += {number}")
    assert [text(branch.run("x")) for branch in branches] == ["0", "1", "2"]
    assert text(session.run("x")) == "0"
    for branch in branches:
        branch.close()


def test_no_branch_at_all_is_refused(session: Session) -> None:
    with pytest.raises(PolicyError, match="at least one"):
        session.fork(0)


def test_files_are_copied_and_then_apart(session: Session) -> None:
    session.put("data/a.txt", "a")
    session.run(
        "os.symlink('a.txt', 'data/link'); os.mkfifo('pipe'); os.utime('data/a.txt', (7, 7))\n"
        "os.chmod('data/a.txt', 0o640)\n"
        "open('/tmp/t', 'w').write('t'); open('/dev/shm/s', 'w').write('s')"
    )
    look = (
        "[open(p).read() for p in ('data/link', '/tmp/t', '/dev/shm/s')], "
        "os.stat('data/a.txt').st_mtime, oct(os.stat('data/a.txt').st_mode), "
        "sorted(os.listdir('data'))"
    )
    before = text(session.run(look))
    with session.fork() as branch:
        assert text(branch.run(look)) == before
        assert branch.files() == ["data/a.txt"]
        assert text(branch.run("os.path.exists('pipe')")) == "False"
        branch.run("[open(p, 'w').write('b') for p in ('data/a.txt', '/tmp/t', '/dev/shm/s')]")
        branch.put("new.txt", "n")
        session.put("data/a.txt", "o")
        assert branch.get("data/a.txt") == b"b"
        assert session.get("data/a.txt") == b"o"
        assert session.files() == ["data/a.txt"]
        assert text(session.run("open('/tmp/t').read() + open('/dev/shm/s').read()")) == "'ts'"


def test_a_workspace_that_was_closed_to_its_own_session_is_branched(session: Session) -> None:
    session.put("a.txt", "a")
    session.run("x = 1; os.chmod('.', 0)")
    with session.fork() as branch:
        assert text(branch.run("x")) == "1"
        assert text(branch.run("os.chmod('/mnt/data', 0o700); open('a.txt').read()")) == "'a'"
    assert text(session.run("x")) == "1"


def test_artifacts_of_a_branch_are_what_it_changed(session: Session) -> None:
    session.put("old.txt", "o")
    with session.fork() as branch:
        assert branch.run("1").artifacts == ()
        [made] = branch.run("open('made.txt', 'w').write('m')").artifacts
        assert (made.path, made.change) == ("made.txt", "made")


@pytest.mark.parametrize("place", ["/mnt/data", "/mnt/data/below", "/home/user", "/usr"])
def test_a_branch_goes_on_in_the_directory_of_its_origin_and_changes_its_own(
    session: Session, place: str
) -> None:
    session.run(f"os.makedirs({place!r}, exist_ok=True); os.chdir({place!r})")
    with session.fork() as branch:
        assert text(branch.run("os.getcwd()")) == repr(place)
        branch.run("os.chdir('/tmp')")
        assert text(session.run("os.getcwd()")) == repr(place)


def test_a_branch_of_a_session_whose_directory_is_gone_starts_in_the_workspace(
    session: Session,
) -> None:
    session.run("os.mkdir('gone'); os.chdir('gone'); os.rmdir('/mnt/data/gone')")
    with session.fork() as branch:
        assert text(branch.run("os.getcwd()")) == "'/mnt/data'"


def test_chance_goes_on_alike_and_then_apart(session: Session) -> None:
    session.run("import random; random.seed(1)")
    draw = "[random.random() for _ in range(3)]"
    with session.fork() as branch:
        first = text(branch.run(draw))
        assert text(session.run(draw)) == first
        assert text(branch.run(draw)) != first


def test_numbers_of_snippets_go_on(session: Session) -> None:
    with session.fork() as branch:
        failed = branch.run("1 / 0")
        assert isinstance(failed, Raised)
        assert "ZeroDivisionError" in failed.error.traceback


def test_input_given_to_the_origin_is_not_shared(session: Session) -> None:
    session.run("line = sys.stdin.readline()", stdin="one\ntwo\n")
    with session.fork() as branch:
        assert text(branch.run("line, sys.stdin.read(), os.read(0, 9)")) == "('one\\n', '', b'')"


def test_output_goes_to_whom_it_belongs(session: Session) -> None:
    with session.fork() as branch:
        assert branch.run("print('branch')").stdout == "branch\n"
        assert session.run("print('origin')").stdout == "origin\n"
        assert branch.run("os.write(2, b'raw')").stderr == "raw"


def test_files_of_a_branch_are_its_own_at_the_same_place(session: Session) -> None:
    session.run(
        "f = open('notes', 'w+'); _ = f.write('one two'); f.flush(); _ = f.seek(4)\n"
        "log = open('log', 'a'); _ = log.write('1'); log.flush()\n"
        "font = open(os.__file__, 'rb'); head = font.read(9)\n"
        "import mmap; lines = os.scandir('.')"
    )
    use = "f.read(), f.seek(0), f.write('ONE'), f.flush(), f.seek(4), f.tell(), font.tell()"
    with session.fork() as branch:
        for one in (branch, session):
            assert text(one.run(use)) == "('two', 0, 3, None, 4, 4, 9)"
        session.run("_ = log.write('2'); log.close(); _ = f.seek(0); _ = f.write('x'); f.close()")
        branch.run("_ = log.write('3'); log.close(); f.close()")
        assert (session.get("log"), branch.get("log")) == (b"12", b"13")
        assert (session.get("notes"), branch.get("notes")) == (b"xNE two", b"ONE two")
        assert text(branch.run("font.read(5) == open(os.__file__, 'rb').read()[9:14]")) == "True"
        assert text(session.run("font.tell()")) == "9"


def test_a_mapped_file_of_a_branch_is_its_own(session: Session) -> None:
    session.run(
        "import mmap\nf = open('table', 'w+b'); f.write(bytes(8192)); f.flush()\n"
        "rows = mmap.mmap(f.fileno(), 4096, offset=4096); rows[:3] = b'abc'"
    )
    with session.fork() as branch:
        branch.run("rows[0:1] = b'x'; rows.flush()")
        session.run("rows[1:2] = b'y'; rows.flush()")
        assert (text(branch.run("rows[:3]")), text(session.run("rows[:3]"))) == ("b'xbc'", "b'ayc'")
        assert branch.get("table")[4096:4099] == b"xbc"
        assert session.get("table")[4096:4099] == b"ayc"


def test_locks_of_multiprocessing_are_a_branch_s_own(session: Session) -> None:
    session.run("import multiprocessing\nlock = multiprocessing.Lock()\nlock.acquire()")
    with session.fork() as branch:
        branch.run("lock.release()")
        assert text(branch.run("lock.acquire(block=False)")) == "True"
        assert text(session.run("lock.acquire(block=False)")) == "False"


NAMELESS = {  # name: what makes it, what changes it, what it holds then, and without the change
    "a temporary file": (
        "import tempfile; f = tempfile.TemporaryFile(); f.write(b'abc'); f.flush(); f.seek(1)",
        "f.write(b'X'); f.flush()",
        "f.tell(), f.seek(0), f.read()",
        ("(2, 0, b'aXc')", "(1, 0, b'abc')"),
    ),
    "a file to read that was removed": (
        "open('q', 'w').write('hello'); f = open('q'); f.read(1); os.remove('q')",
        "f.read(2)",
        "f.read()",
        ("'lo'", "'ello'"),
    ),
    "values of multiprocessing": (
        "import multiprocessing as mp; v = mp.Value('i', 3); a = mp.Array('d', [1, 2])",
        "v.value = 9; a[0] = 5",
        "v.value, a[:]",
        ("(9, [5.0, 2.0])", "(3, [1.0, 2.0])"),
    ),
    "memory": (
        "import mmap; m = mmap.mmap(-1, 8192); m[4095:4097] = b'AB'",
        "m[4095:4096] = b'Z'",
        "m[4095:4097]",
        ("b'ZB'", "b'AB'"),
    ),
    "a file that is open and mapped": (
        "import mmap, tempfile; f = tempfile.TemporaryFile(); f.write(bytes(9)); f.flush()\n"
        "m = mmap.mmap(f.fileno(), 9)",
        "m[0:2] = b'hi'; m.flush()",
        "f.seek(0), f.read(3), m[:3]",
        (r"(0, b'hi\x00', b'hi\x00')", r"(0, b'\x00\x00\x00', b'\x00\x00\x00')"),
    ),
}


@pytest.mark.parametrize("name", NAMELESS)
def test_what_has_no_name_is_a_branch_s_own(session: Session, name: str) -> None:
    make, change, look, (changed, kept) = NAMELESS[name]
    session.run(make)
    with session.fork() as branch:
        branch.run(change)
        assert (text(branch.run(look)), text(session.run(look))) == (changed, kept)
        assert text(branch.run("[n for n in os.listdir('/tmp') if n.startswith('.')]")) == "[]"


def test_an_event_loop_is_no_hindrance(session: Session) -> None:
    session.run(
        "import asyncio\nseen = []\nasync def tick():\n  await asyncio.sleep(0)\n"
        "  seen.append(1)\ntask = asyncio.create_task(tick())\nawait asyncio.sleep(0)"
    )
    with session.fork() as branch:
        for one in (session, branch, session, branch):
            assert text(one.run("await asyncio.sleep(0.001, 'woken')")) == "'woken'"
            assert text(one.run("await asyncio.to_thread(len, 'abc')")) == "3"
        assert text(branch.run("seen")) == text(session.run("seen")) == "[1]"
