"""Names, requirements and refusals of packages, before any program is started."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from sandbox.errors import EnvironmentFailed, PackagesNotInstalled, PolicyError
from sandbox.packages import installer, store
from sandbox.packages.installer import Installer, Sources, checked_requirements
from sandbox.policy.environment import discover


@pytest.fixture(autouse=True)
def data_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    return tmp_path / "cellblock" / "environments"


@pytest.mark.parametrize(
    "requirement",
    [
        *("humanize", "humanize==4.*", "polars>=1", "a.b-c_d ~= 2.1", "pandas[excel,plot]>=2,<3"),
        *("x===1", "x != 1.0", "tomli>=2; python_version < '3.11'", "numpy==2.0.0rc1", "x==1!2.0"),
    ],
)
def test_a_package_by_name_is_taken(requirement: str) -> None:
    assert checked_requirements([requirement]) == (requirement,)


@pytest.mark.parametrize(
    "requirement",
    [
        *(
            "",
            "-e .",
            "--index-url=http://a",
            "./local",
            "/etc/passwd",
            "a @ http://b",
            "a==1\n-r x",
        ),
        *("git+https://a/b", "a.whl/../b", "a b", "-rfile", "a==1 --hash=x", "x" * 200, 7),
    ],
)
def test_what_is_no_package_by_name_is_refused(requirement: str) -> None:
    with pytest.raises(PolicyError):
        checked_requirements([requirement])


@pytest.mark.parametrize("wrong", ["humanize", [], ["a"] * 201])
def test_packages_are_a_list_within_bounds(wrong: list[str]) -> None:
    with pytest.raises(PolicyError):
        checked_requirements(wrong)


@pytest.mark.parametrize("name", ["", "..", ".a", "a/b", "a b", "x" * 65, "python3", "python3.12"])
def test_what_no_environment_is_called(name: str) -> None:
    with pytest.raises(PolicyError):
        store.checked_name(name)


def test_environments_are_in_the_users_data_directory(
    data_directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert store.environments_directory() == str(data_directory)
    monkeypatch.setenv("XDG_DATA_HOME", "relative")
    monkeypatch.setenv("HOME", "/somewhere")
    assert store.environments_directory() == "/somewhere/.local/share/cellblock/environments"


def test_an_environment_is_found_by_name_unless_it_is_damaged_or_another_pythons(
    data_directory: Path,
) -> None:
    assert (store.find("data"), store.names(), store.remove("data")) == (None, [], False)
    site = data_directory / "data" / store.SITE
    site.mkdir(parents=True)
    facts = data_directory / "data" / store.FACTS
    kept = {
        "name": "data",
        "python": [3, 2],
        "platform": "linux",
        "requested": [],
        "packages": {"a": "1"},
        "size_bytes": 1,
        "made_at": 0.0,
    }
    facts.write_text(json.dumps(kept))
    found = store.find("data")
    assert found is not None
    assert (found.site, store.names()) == (str(site), ["data"])
    with pytest.raises(EnvironmentFailed, match=r"made for Python 3\.2"):
        discover("data")
    facts.write_text("{}")
    with pytest.raises(EnvironmentFailed, match="damaged"):
        store.find("data")
    facts.write_text(json.dumps({**kept, "name": "other"}))
    with pytest.raises(EnvironmentFailed):
        store.find("data")
    assert store.remove("data")
    assert not os.path.exists(data_directory / "data")
    with pytest.raises(EnvironmentFailed, match="no such environment"):
        discover("data")


SAID = (
    ("No solution found when resolving dependencies", "not_found"),
    ("ERROR: No matching distribution found for nope", "not_found"),
    ("error: Failed to fetch: `https://pypi.org/simple/a/`", "offline"),
    ("hint: Packages were unavailable because the network was disabled.", "offline"),
    ("something else", "failed"),
)


@pytest.mark.parametrize(("said", "problem"), SAID)
def test_a_refusal_of_the_program_has_its_reason(
    said: str, problem: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = Installer("/usr/bin/python3", Sources())
    monkeypatch.setattr(one, "_uv", "uv")

    def refusing(_command: object, **options: int) -> subprocess.Popen[bytes]:
        whole = ["sh", "-c", 'echo "$0" >&2; exit 1', said]
        return started(whole, **options)  # type: ignore[call-overload, no-any-return]

    started = subprocess.Popen
    monkeypatch.setattr(installer.subprocess, "Popen", refusing)
    with pytest.raises(PackagesNotInstalled) as caught:
        one.missing(["nope"])
    assert caught.value.problem == problem
    assert said in str(caught.value)
    assert caught.value.packages == ("nope",)


def test_a_program_that_takes_too_long_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    one = Installer("/usr/bin/python3", Sources(), timeout_s=0.2)
    with pytest.raises(PackagesNotInstalled) as caught:
        one._run(["sleep", "60"], ["slow"])
    assert caught.value.problem == "timeout"
    cancelled = Installer("/usr/bin/python3", Sources(), is_cancelled=lambda: True)
    with pytest.raises(PackagesNotInstalled):
        cancelled._run(["sleep", "60"], ["slow"])


def test_without_uv_and_pip_there_is_no_installer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(installer.shutil, "which", lambda _name: None)
    monkeypatch.setattr(installer.importlib.util, "find_spec", lambda _name: None)
    with pytest.raises(PackagesNotInstalled) as caught:
        Installer("/usr/bin/python3", Sources())
    assert caught.value.problem == "no_installer"
