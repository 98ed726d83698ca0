"""Files go in, come out, and are listed after each snippet; mounts show what the policy names."""

import hashlib
import os
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

import pytest

from sandbox import Mount, Policy, Sandbox, Session
from sandbox.errors import FileRefused
from sandbox.outcome import Raised
from tests.jail.corpus import Tier

SHOWN = "/var/lib"
"""A directory of every host that everybody may list."""


def test_what_is_put_is_read_by_the_guest_and_got_back(session: Session) -> None:
    data = bytes(range(256)) * 300
    session.put("data/in.bin", data)
    session.put("text.txt", "grün")
    assert session.run("len(open('data/in.bin', 'rb').read()), open('text.txt').read()").text == (
        "(76800, 'grün')"
    )
    assert session.get("data/in.bin") == data
    assert session.files() == ["data/in.bin", "text.txt"]


def test_the_guest_owns_what_was_put(session: Session) -> None:
    session.put("a.txt", "a")
    outcome = session.run(
        "import os\nopen('a.txt', 'a').write('b')\nos.rename('a.txt', 'b.txt')\n"
        "os.stat('b.txt').st_uid == os.getuid()"
    )
    assert outcome.text == "True"
    assert session.get("b.txt") == b"ab"


def test_artifacts_tell_what_was_made_changed_and_deleted(session: Session) -> None:
    session.put("old.csv", "a,b\n")
    session.put("gone.txt", "x")
    outcome = session.run(
        "import os\nopen('old.csv', 'a').write('1,2\\n')\nos.remove('gone.txt')\n"
        "os.mkdir('plots')\nopen('plots/p.png', 'wb').write(b'png')"
    )
    found = {item.path: (item.change, item.size_bytes, item.mime) for item in outcome.artifacts}
    assert found == {
        "gone.txt": ("deleted", 0, "text/plain"),
        "old.csv": ("changed", 8, "text/csv"),
        "plots/p.png": ("made", 3, "image/png"),
    }
    digests = {item.path: item.sha256 for item in outcome.artifacts}
    assert digests["plots/p.png"] == hashlib.sha256(b"png").hexdigest()
    assert digests["gone.txt"] is None
    assert session.run("1").artifacts == ()


def test_a_file_is_removed_between_snippets_and_is_no_artifact(session: Session) -> None:
    session.run("open('a.txt', 'w').write('a')")
    session.remove("a.txt")
    session.remove("a.txt")
    outcome = session.run("import os; os.listdir()")
    assert (outcome.text, outcome.artifacts) == ("[]", ())
    with pytest.raises(FileRefused):
        session.remove("../a.txt")


def test_a_file_put_between_snippets_is_no_artifact(session: Session) -> None:
    session.run("1")
    session.put("a.txt", "a")
    assert session.run("1").artifacts == ()


REFUSED = (
    ("link", "import os; os.symlink('/etc/passwd', 'link')"),
    ("folder/passwd", "import os; os.symlink('/etc', 'folder')"),
    ("pipe", "import os; os.mkfifo('pipe')"),
    ("folder", "import os; os.mkdir('folder')"),
    ("closed", "import os; open('closed', 'w').write('x'); os.chmod('closed', 0)"),
    ("missing", "1"),
    ("../a", "1"),
    ("/etc/passwd", "1"),
    ("", "1"),
    ("a\0b", "1"),
)


@pytest.mark.parametrize(("path", "code"), REFUSED, ids=[repr(path) for path, _ in REFUSED])
def test_nothing_but_an_open_regular_file_of_the_workspace_comes_out(
    session: Session, tier: Tier, path: str, code: str
) -> None:
    assert session.run(code).status == "completed"
    if path == "closed" and tier == "landlock" and os.geteuid() != 0:
        # No mode can be set there: the file is as open as others.
        assert session.get(path) == b"x"
    else:
        with pytest.raises(FileRefused):
            session.get(path)
    assert path not in session.files() or path == "closed"
    assert session.run("1").text == "1"


def test_a_put_goes_around_links_and_pipes_that_the_guest_laid(session: Session) -> None:
    session.run("import os\nos.symlink('/tmp/elsewhere', 'a')\nos.mkfifo('b')")
    session.put("a", "data")
    session.put("b", "data")
    assert (
        session.run("os.path.islink('a'), open('b').read(), os.path.exists('/tmp/elsewhere')").text
        == "(False, 'data', False)"
    )


def test_a_put_below_a_link_is_refused(session: Session) -> None:
    session.run("import os\nos.symlink('/tmp', 'folder')")
    with pytest.raises(FileRefused):
        session.put("folder/a", "data")
    assert session.run("os.path.exists('/tmp/a')").text == "False"


def test_odd_names_are_listed_and_read(session: Session) -> None:
    session.run(
        "for name in (' a', 'new\\nline', '-rf', 'ü', '.hidden'): open(name, 'w').write(name)"
    )
    assert session.files() == [" a", "-rf", ".hidden", "new\nline", "ü"]
    for name in session.files():
        assert session.get(name) == name.encode()


def test_a_name_that_is_no_text_is_told_and_harms_nothing(session: Session) -> None:
    outcome = session.run("open(b'\\xff.txt', 'w').write('x')")
    assert [item.path for item in outcome.artifacts] == ["\\udcff.txt"]
    assert session.get(session.files()[0]) == b"x"


def test_the_bytes_of_a_stream_that_was_no_text_are_kept(session: Session) -> None:
    outcome = session.run("import os\nos.write(1, b'a\\xff\\xfeb')")
    assert outcome.stdout == "a\ufffd\ufffdb"
    [artifact] = outcome.artifacts
    assert session.get(artifact.path) == b"a\xff\xfeb"


def test_the_workspace_has_its_usual_names_in_the_full_tier() -> None:
    with Sandbox(pool_size=0) as box:
        outcome = box.run(
            "import os\nos.getcwd(), os.path.realpath('/workspace'), os.environ['HOME']"
        )
        assert outcome.text == "('/mnt/data', '/mnt/data', '/tmp/home')"


def test_a_read_only_mount_is_read_and_not_written(tier: Tier) -> None:
    target = "/data" if tier == "namespaces" else SHOWN
    before = sorted(os.listdir(SHOWN))
    policy = Policy(tier=tier, mounts=(Mount(host=SHOWN, target=target),))
    with Sandbox(policy, pool_size=0) as box:
        assert box.run(f"import os\nsorted(os.listdir({target!r})) == {before!r}").text == "True"
        refused = box.run(f"open('{target}/new.txt', 'w')")
        assert isinstance(refused, Raised)
        assert refused.error.type == ("OSError" if tier == "namespaces" else "PermissionError")
    assert sorted(os.listdir(SHOWN)) == before


def test_what_is_written_to_a_writable_mount_stays_on_the_host(tmp_path: Path) -> None:
    policy = Policy(mounts=(Mount(host=str(tmp_path), target="/out", access="rw"),))
    with Sandbox(policy, pool_size=0) as box:
        assert box.run("open('/out/a.txt', 'w').write('kept')").status == "completed"
    written = tmp_path / "a.txt"
    assert written.read_text() == "kept"
    assert written.stat().st_uid == tmp_path.stat().st_uid


def test_a_policy_may_take_files_back_with_the_variables(tier: Tier) -> None:
    policy = Policy(tier=tier, files="rollback")
    with Sandbox(policy, pool_size=0) as box, box.session() as session:
        session.put("a.txt", "before")
        outcome = session.run(
            "open('a.txt', 'w').write('half'); open('b', 'w')\nimport os\nos._exit(1)"
        )
        assert (outcome.state, outcome.artifacts) == ("rolled_back", ())
        assert (session.files(), session.get("a.txt")) == (["a.txt"], b"before")


PROGRAM = """\
import site
from sandbox import Sandbox
font = site.getsitepackages()[0] + '/font.ttf'
with Sandbox() as box, box.session() as session:
    print(session.run(f'font = open({font!r}); font.name').text)
    with session.fork() as branch:
        print(branch.run('font.read()').text)
"""


def test_an_open_file_of_a_package_below_tmp_keeps_no_session_from_a_branch() -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as place:
        os.chmod(place, 0o755)
        venv.create(place, symlinks=True)
        python = f"{place}/bin/python"
        at = subprocess.check_output(
            [python, "-c", "import site; print(site.getsitepackages()[0])"]
        )
        packages = Path(os.fsdecode(at.strip()))
        (packages / "font.ttf").write_text("a font")
        ours = [path for path in sys.path if path and os.path.isdir(path)]
        (packages / "ours.pth").write_text("\n".join(ours))
        ran = subprocess.run(
            [python, "-c", PROGRAM], capture_output=True, text=True, timeout=120, check=False
        )
    assert ran.stdout.splitlines() == [f"'{packages}/font.ttf'", "'a font'"], ran.stderr
