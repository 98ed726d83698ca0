"""Packages of environments and of single sessions, from wheels that are made here: no network."""

import importlib.util
import os
import socket
import stat
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from runner.cli import commands
from sandbox import (
    Limits,
    PackagesNotInstalled,
    Policy,
    PolicyError,
    Raised,
    Sandbox,
    Session,
    create_environment,
    environments,
    find_environment,
    remove_environment,
)
from sandbox.packages import installer
from tests.jail.corpus import Tier
from tests.wheels import wheel

MiB = 1024 * 1024
SIGN = "/tmp/cellblock-ran-on-the-host"
HOSTILE = f"import os; open({SIGN!r}, 'w').close()\n"


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("wheels")
    wheel(directory, "cbone", "1.0", needs=("cbtwo>=2",))
    wheel(directory, "cbtwo", "2.0")
    wheel(directory, "cbtwo", "2.1")
    wheel(
        directory,
        "cbfoe",
        "1.0",
        files={
            "cbfoe.pth": HOSTILE.strip(),
            "sitecustomize.py": HOSTILE,
            "cbfoe/__init__.py": HOSTILE,
            "cbfoe/broken.py": "def (\n",
        },
    )
    wheel(directory, "cblarge", "1.0", files={"cblarge/data.py": f"X = {'0' * (6 * MiB)!r}\n"})
    return directory


@pytest.fixture(autouse=True)
def data_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    return tmp_path


@pytest.fixture(autouse=True)
def nothing_ran_on_the_host() -> Iterator[None]:
    assert not os.path.exists(SIGN)
    yield
    assert not os.path.exists(SIGN)


@pytest.fixture(params=["uv", "pip"])
def program(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """What installs; pip where there is no uv."""
    name: str = request.param
    if name == "uv" and installer.shutil.which("uv") is None:
        pytest.skip("there is no uv: pip install uv")
    if name == "pip":
        if importlib.util.find_spec("pip") is None:
            pytest.skip("there is no pip: python -m ensurepip")
        monkeypatch.setattr(installer.shutil, "which", lambda _name: None)
    return name


@pytest.mark.slow
def test_a_session_gets_packages_that_no_other_has(
    box: Sandbox, session: Session, tier: Tier, wheels: Path, program: str
) -> None:
    missing = session.run("import cbone")
    assert isinstance(missing, Raised)
    assert "session.install(['cbone'])" in missing.error.message
    assert "cellblock env create NAME --with cbone" in missing.error.message
    laid = session.install(["cbone", "cbtwo<2.1"], find_links=[str(wheels)], offline=True)
    assert sorted(laid) == ["cbone==1.0", "cbtwo==2.0"]
    assert session.run("import cbone, cbtwo; cbtwo.VERSION").text == "'2.0'"
    child = session.exec([sys.executable, "-c", "import cbone; print(cbone.VERSION)"])
    assert (child.text, child.exit_code) == ("1.0\n", 0)
    assert (session.files(), session.run("1").artifacts) == ([], ())
    assert session.run("import os; os.stat(cbtwo.__file__).st_uid == os.getuid()").text == "True"
    assert isinstance(box.run("import cbtwo"), Raised)
    if tier == "namespaces":
        with session.fork() as branch:
            assert branch.run("import cbone.__init__; cbone.VERSION").text == "'1.0'"


@pytest.mark.slow
def test_another_version_takes_the_place_of_the_first(session: Session, wheels: Path) -> None:
    versions = "import importlib.metadata as m; [d.version for d in m.distributions(name='cbtwo')]"
    for version in ("2.0", "2.1"):
        session.install([f"cbtwo=={version}"], find_links=[str(wheels)], offline=True)
        assert session.run(versions).text == f"['{version}']"


def test_what_cannot_be_installed_is_refused_with_its_reason(
    session: Session, wheels: Path
) -> None:
    with pytest.raises(PackagesNotInstalled) as caught:
        session.install(["cbnone"], find_links=[str(wheels)], offline=True)
    assert caught.value.problem in ("not_found", "offline")
    for wrong in (["-e ."], [str(wheels / "cbone-1.0-py3-none-any.whl")], []):
        with pytest.raises(PolicyError):
            session.install(wrong)
    assert session.run("1 + 1").text == "2"


def test_packages_count_on_the_sessions_disk(tier: Tier, wheels: Path) -> None:
    policy = Policy(tier=tier, limits=Limits(workspace_bytes=4 * MiB))
    with Sandbox(policy, pool_size=0) as box, box.session() as session:
        with pytest.raises(PackagesNotInstalled) as caught:
            session.install(["cblarge"], find_links=[str(wheels)], offline=True)
        assert caught.value.problem == "no_room"
        assert session.files("/home/user") == []
        session.install(["cbtwo"], find_links=[str(wheels)], offline=True)
        assert len(session.files("/home/user")) > 2


def test_links_that_a_guest_laid_lead_no_package_out(session: Session, wheels: Path) -> None:
    session.run(
        "import os, shutil\nown = os.environ['HOME'] + '/.packages'\nos.rmdir(own)\n"
        "os.symlink('/tmp', own)"
    )
    before = sorted(os.listdir("/tmp"))
    with pytest.raises((PackagesNotInstalled, ValueError)):
        session.install(["cbtwo"], find_links=[str(wheels)], offline=True)
    assert "cbtwo" not in set(os.listdir("/tmp")) - set(before)


@pytest.mark.slow
def test_an_environment_is_locked_shown_read_only_and_found_by_name(
    tier: Tier, wheels: Path, data_directory: Path, program: str
) -> None:
    made = create_environment("data-1", ["cbone"], find_links=[str(wheels)], offline=True)
    assert made.packages == {"cbone": "1.0", "cbtwo": "2.1"}
    assert [one.name for one in environments()] == ["data-1"]
    assert Path(made.lock).read_text().count("--hash=sha256:") == 2
    kept = data_directory / "cellblock"
    assert stat.S_IMODE(kept.stat().st_mode) == 0o700
    assert sorted(os.listdir(kept / "environments")) == ["data-1"]
    with pytest.raises(PolicyError, match="there already"):
        create_environment("data-1", ["cbone"], find_links=[str(wheels)], offline=True)
    preload = ["cbone"] if tier == "namespaces" else []
    policy = Policy.from_toml_text(f'tier = "{tier}"\nenvironment = "data-1"\npreload = {preload}')
    with Sandbox(policy, pool_size=0) as box, box.session() as session:
        assert session.run("import sys; 'cbone' in sys.modules").text == str(bool(preload))
        assert session.run("import cbtwo, os; cbtwo.VERSION").text == "'2.1'"
        assert session.run("os.path.exists(cbtwo.__cached__)").text == "True"
        refused = session.run("open(cbtwo.__file__, 'a')")
        assert isinstance(refused, Raised)
        child = session.exec([sys.executable, "-c", "import cbone; print(cbone.VERSION)"])
        assert child.text == "1.0\n"
        described = session.describe().packages
        assert (described["cbone"], described["cbtwo"]) == ("1.0", "2.1")
    again = create_environment("again", locked=made.lock, find_links=[str(wheels)], offline=True)
    assert again.packages == made.packages
    assert remove_environment("data-1")
    assert not remove_environment("data-1")
    assert find_environment("data-1") is None


@pytest.mark.slow
def test_the_making_of_an_environment_tells_how_far_it_is(wheels: Path) -> None:
    told: list[tuple[str, int, int]] = []
    create_environment(
        "told",
        ["cbone"],
        find_links=[str(wheels)],
        offline=True,
        on_progress=lambda *step: told.append(step),
    )
    assert list(dict.fromkeys(step for step, _, _ in told)) == ["lock", "unpack", "compile"]
    assert [step for step in told if step[0] == "unpack"][-1] == ("unpack", 2, 2)
    assert told[-1] == ("compile", 2, 2)
    output = CliRunner().invoke(
        commands,
        ["env", "create", "cli", "--with", "cbone", "--offline", "--find-links", str(wheels)],
    )
    assert output.exit_code == 0, output.output
    assert "Choosing versions\n" in output.stderr
    assert "Fetching and unpacking packages 0/2\n" in output.stderr
    assert "Compiling, in a jail 2/2\n" in output.stderr
    assert output.stdout.startswith("cli: 2 packages")


@pytest.mark.slow
def test_nothing_of_a_hostile_package_runs_on_the_host(
    tier: Tier, wheels: Path, session: Session
) -> None:
    create_environment("foe", ["cbfoe"], find_links=[str(wheels)], offline=True)
    assert not os.path.exists(SIGN)
    with Sandbox(Policy(tier=tier, environment="foe"), pool_size=0) as box:
        if tier == "namespaces":
            # Its .pth runs in the jail, where /tmp is a session's own.
            assert box.run(
                "import cbfoe, os; os.path.exists('/tmp/cellblock-ran-on-the-host')"
            ).text
    session.install(["cbfoe"], find_links=[str(wheels)], offline=True)


@pytest.mark.slow
def test_a_lock_whose_hash_is_another_is_refused(wheels: Path, tmp_path: Path) -> None:
    lock = tmp_path / "lock.txt"
    lock.write_text(f"cbtwo==2.1 --hash=sha256:{'0' * 64}\n")
    with pytest.raises(PackagesNotInstalled):
        create_environment("forged", locked=str(lock), find_links=[str(wheels)], offline=True)
    lock.write_text("cbtwo==2.1\n")
    with pytest.raises(PackagesNotInstalled, match="no hashes"):
        create_environment("forged", locked=str(lock), find_links=[str(wheels)], offline=True)
    assert environments() == []
    assert os.listdir(tmp_path / "cellblock" / "environments") == []


@pytest.mark.slow
def test_the_command_line_makes_shows_locks_and_removes(wheels: Path, tmp_path: Path) -> None:
    wanted = tmp_path / "requirements.txt"
    wanted.write_text("cbtwo<2.1\n")
    run = CliRunner()
    links = ["--offline", "--find-links", str(wheels)]
    made = run.invoke(
        commands, ["env", "create", "one", "--with", "cbone", "--with", str(wanted), *links]
    )
    assert (made.exit_code, "2 packages" in made.output) == (0, True), made.output
    assert run.invoke(commands, ["env", "list"]).output.startswith("one\t")
    assert "cbtwo==2.0\n" in run.invoke(commands, ["env", "show", "one"]).output
    assert "--hash=sha256:" in run.invoke(commands, ["env", "lock", "one"]).output
    again = run.invoke(commands, ["env", "create", "one", "--with", "cbone", *links])
    assert (again.exit_code, "there already" in again.output) == (2, True)
    assert run.invoke(commands, ["env", "remove", "one"]).exit_code == 0
    assert run.invoke(commands, ["env", "show", "one"]).exit_code == 1
    ran = run.invoke(
        commands, ["run", "-c", "import cbone; print(cbone.VERSION)", "--with", "cbone", *links]
    )
    assert (ran.exit_code, ran.output) == (0, "1.0\n")
    none = run.invoke(commands, ["run", "-c", "1", "--with", "cbnone", *links])
    assert none.exit_code == 125


def is_online() -> bool:
    try:
        socket.create_connection(("pypi.org", 443), timeout=3).close()
    except OSError:
        return False
    return True


@pytest.mark.slow
def test_a_package_comes_from_the_index(session: Session) -> None:
    if not is_online():
        pytest.skip("pypi.org is not reached from here: connect this machine")
    laid = session.install(["humanize==4.*"])
    assert [one.split("==")[0] for one in laid] == ["humanize"]
    assert session.run("import humanize; humanize.intcomma(1234567)").text == "'1,234,567'"
