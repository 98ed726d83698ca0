"""Files wherever a session may write: in pieces, looked at, made and removed, in each tier."""

import io
import os
from collections.abc import Iterator

import pytest

from sandbox import (
    AsyncSandbox,
    FileIsDirectory,
    FileNotDirectory,
    FileNotPermitted,
    FileNotThere,
    FileRefused,
    Limits,
    NoRoomForFile,
    Policy,
    Sandbox,
    Session,
)
from tests.jail.corpus import Tier

MiB = 1024 * 1024


def test_files_are_reached_by_the_paths_that_code_has_for_them(
    session: Session, tier: Tier
) -> None:
    home = session.run("import os; print(os.environ['HOME'], os.getcwd(), end='')").stdout
    assert isinstance(home, str)
    home, workspace = home.split()
    session.put("/home/user/.config/a", "in the home directory")
    session.put("/tmp/b", "temporary")
    session.put(f"{workspace}/c/d", "in the workspace")
    read = session.run(
        f"open('{home}/.config/a').read(), open(os.environ['TMPDIR'] + '/b').read(),"
        " open('c/d').read()"
    )
    assert read.text == "('in the home directory', 'temporary', 'in the workspace')"
    session.run(f"open('{home}/e', 'w').write('by code')")
    assert session.get("/home/user/e") == session.get(f"{home}/e") == b"by code"
    assert session.files() == ["c/d"]
    assert session.files("/home/user") == ["/home/user/.config/a", "/home/user/e"]
    assert session.files("c") == session.files("./c") == ["c/d"]
    assert session.files("/mnt/data") == ["/mnt/data/c/d"]
    assert [one.path for one in session.list_directory("/mnt/data")] == ["/mnt/data/c"]
    if tier == "namespaces":
        assert session.run("open('/home/user/e').read()").text == "'by code'"
        session.put("/dev/shm/f", b"shared")
        assert session.run("open('/dev/shm/f').read()").text == "'shared'"


def test_a_file_goes_in_and_out_in_pieces(session: Session) -> None:
    data = os.urandom(3 * MiB + 17)
    session.put("in/large.bin", io.BytesIO(data))
    session.put("pieces.bin", (data[start : start + 1000] for start in range(0, 10_000, 1000)))
    assert session.run("import os; os.path.getsize('in/large.bin')").text == str(len(data))
    assert session.run("os.stat('in/large.bin').st_uid == os.getuid()").text == "True"
    assert b"".join(session.get_stream("in/large.bin")) == data
    assert max(map(len, session.get_stream("pieces.bin", chunk_bytes=3000))) == 3000
    target = io.BytesIO()
    assert session.get_to("in/large.bin", target) == len(data)
    assert target.getvalue() == data
    assert session.get("pieces.bin") == data[:10_000]


async def test_the_same_with_an_event_loop(tier: Tier) -> None:
    async def pieces() -> object:
        for number in range(3):
            yield b"%d" % number

    async with (
        AsyncSandbox(Policy(tier=tier), pool_size=0) as box,
        box.session() as session,
    ):
        await session.put("a", pieces())  # type: ignore[arg-type]
        assert [piece async for piece in session.get_stream("a", chunk_bytes=2)] == [b"01", b"2"]
        await session.mkdir("folder/in")
        assert (await session.stat("folder")).kind == "directory"
        assert [one.path for one in await session.list_directory()] == ["a", "folder"]
        await session.remove("folder", recursive=True)
        assert [one.path for one in await session.list_directory()] == ["a"]


def test_a_source_that_breaks_leaves_what_was_there(session: Session) -> None:
    def broken() -> Iterator[bytes]:
        yield b"half"
        raise RuntimeError("the source broke")

    session.put("a", "whole")
    with pytest.raises(RuntimeError, match="the source broke"):
        session.put("a", broken())
    assert session.get("a") == b"whole"
    assert session.run("import os; os.listdir()").text == "['a']"


def test_what_is_put_fits_on_the_disk_or_is_refused_as_too_much(tier: Tier) -> None:
    limits = Limits(workspace_bytes=4 * MiB)
    with Sandbox(Policy(tier=tier, limits=limits), pool_size=0) as box, box.session() as session:
        session.put("kept", bytes(2 * MiB))
        for data in (bytes(3 * MiB), bytes(5 * MiB)):
            with pytest.raises(NoRoomForFile):
                session.put("more", data)
            with pytest.raises(NoRoomForFile):
                session.put("more", io.BytesIO(data))
        # What did not fit holds no room; some of it may be there where it was written over.
        session.remove("more")
        session.put("more", io.BytesIO(bytes(MiB)))
        assert session.stat("more").size_bytes == MiB
        assert session.run("1 + 1").text == "2"


REASONS = (
    ("missing", FileNotThere),
    ("folder", FileIsDirectory),
    ("file/a", FileNotDirectory),
    ("/etc/passwd", FileNotPermitted),
    ("/tmp/../etc/passwd", FileNotPermitted),
    ("/tmp/missing", FileNotThere),
    ("/home/user/link", FileRefused),
    ("link/passwd", FileRefused),
)


def test_a_refusal_tells_its_reason_by_its_type_and_names_the_path(session: Session) -> None:
    session.mkdir("folder")
    session.put("file", "")
    made = session.run(
        "import os\nos.symlink('/etc', 'link')\n"
        "os.symlink('/etc/passwd', os.environ['HOME'] + '/link')"
    )
    assert made.status == "completed"
    for path, reason in REASONS:
        for use in (session.get, lambda path: list(session.get_stream(path))):
            with pytest.raises(FileRefused) as caught:
                use(path)
            assert (type(caught.value), caught.value.path) == (reason, path)
    for path in ("link/a", "link", "../a", "/usr/a", "/home/user/link/a"):
        with pytest.raises(FileRefused):
            session.mkdir(path)
        if path != "link":
            with pytest.raises(FileRefused):
                session.put(path, io.BytesIO(b"x"))
            with pytest.raises(FileRefused):
                session.list_directory(path)
    assert session.stat("link").kind == "link"
    session.remove("link", recursive=True)
    assert os.path.exists("/etc/passwd")


SWAPPER = """
import os, time
os.makedirs("data/in")
os.symlink("/etc", "link")
def swap():
    os.rename("data", "aside"); os.rename("link", "data")
    os.rename("data", "link"); os.rename("aside", "data")
if os.fork() == 0:
    until = time.monotonic() + 4
    while time.monotonic() < until:
        swap()
    os._exit(0)
"""


@pytest.mark.slow
def test_a_directory_that_is_swapped_for_a_link_leads_nowhere(session: Session, tier: Tier) -> None:
    before = sorted(os.listdir("/etc"))
    session.run(SWAPPER)
    for _ in range(150):
        for use in (
            lambda: session.put("data/in/x", io.BytesIO(b"mine")),
            lambda: session.put("data/passwd", io.BytesIO(b"mine")),
            lambda: session.mkdir("data/made"),
            lambda: session.get("data/passwd"),
            lambda: session.remove("data/made", recursive=True),
            lambda: session.list_directory("data"),
        ):
            try:
                found = use()
            except FileRefused:
                continue
            if isinstance(found, bytes):
                assert found == b"mine"
            if isinstance(found, list):
                assert {one.path for one in found} <= {"data/in", "data/made", "data/passwd"}
    assert sorted(os.listdir("/etc")) == before
    assert session.run("1 + 1").text == "2"


def test_files_are_put_while_a_snippet_runs(session: Session) -> None:
    for event in session.stream(
        "import os, time\nprint('ready', flush=True)\n"
        "until = time.monotonic() + 5\n"
        "while not os.path.exists('now') and time.monotonic() < until: time.sleep(0.01)\n"
        "open('now').read()"
    ):
        if getattr(event, "text", "") == "ready\n":
            session.put("now", io.BytesIO(b"there"))
        outcome = getattr(event, "outcome", None)
    assert outcome is not None
    assert outcome.text == "'there'"


def test_a_directory_is_removed_only_on_demand_and_the_refusal_says_how() -> None:
    with Sandbox(pool_size=0) as box, box.session() as session:
        session.mkdir("folder")
        with pytest.raises(FileIsDirectory, match="give recursive=True"):
            session.remove("folder")
        session.remove("folder", recursive=True)
