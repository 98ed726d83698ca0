"""The unit and the container file: read by systemd, and in step with the command line."""

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from runner.cli import commands

DEPLOY = Path(__file__).parents[2] / "docs" / "deploy"
UNIT, CONTAINER = DEPLOY / "cellblock.service", DEPLOY / "Containerfile"
PROGRAM = "/opt/cellblock/bin/cellblock"
CLOSES_JAILS = (
    "RestrictNamespaces",
    "ProtectProc",
    "ProcSubset",
    "ProtectKernelTunables",
    "PrivateUsers",
    "SystemCallFilter",
)
SUBGROUPS_SINCE = 254


def settings() -> dict[str, str]:
    lines = (line.partition("=") for line in UNIT.read_text().splitlines() if "=" in line)
    return {name: value for name, _, value in lines if not name.startswith("#")}


def test_systemd_knows_every_setting_of_the_unit(tmp_path: Path) -> None:
    program = shutil.which("systemd-analyze")
    if program is None:
        pytest.skip("needs systemd-analyze: apt-get install systemd")
    said = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout
    version = int(said.split()[1])
    copy = tmp_path / UNIT.name
    # The program itself is not installed here.
    copy.write_text(UNIT.read_text().replace(PROGRAM, sys.executable))
    done = subprocess.run([program, "verify", copy], capture_output=True, text=True, check=False)
    problems = [line for line in done.stderr.splitlines() if copy.name in line]
    if version < SUBGROUPS_SINCE:
        problems = [line for line in problems if "'DelegateSubgroup'" not in line]
    assert problems == []
    assert done.returncode == 0, done.stderr


def test_the_unit_delegates_cgroups_and_closes_nothing_that_jails_are_made_of() -> None:
    found = settings()
    assert set(found["Delegate"].split()) == {"cpu", "memory", "pids"}
    assert found["DelegateSubgroup"]
    assert [name for name in CLOSES_JAILS if name in found] == []


def test_the_commands_that_they_start_are_known() -> None:
    words = shlex.split(settings()["ExecStart"])
    assert words[0] == PROGRAM
    text = CONTAINER.read_text()
    entry = re.search(r'^ENTRYPOINT \["cellblock"\]$', text, re.MULTILINE)
    started = re.search(r"^CMD \[(.*)\]$", text, re.MULTILINE)
    assert entry is not None
    assert started is not None
    for arguments in (words[1:], [one.strip(' "') for one in started[1].split(",")]):
        options = [one for one in arguments[1:] if one.startswith("--")]
        shown = CliRunner().invoke(commands, [arguments[0], "--help"]).output
        assert options
        assert [one for one in options if one not in shown] == []


def test_the_container_runs_as_a_plain_user() -> None:
    users = re.findall(r"^USER (\S+)$", CONTAINER.read_text(), re.MULTILINE)
    assert users == ["cellblock"]
