"""`cellblock run` as a user starts it: output, endings, files, JSON."""

import os
import re
import signal
import subprocess
from pathlib import Path

import psutil
import pytest

from sandbox import Completed, Raised, outcome_from_json
from tests.jail.command_line import COMMAND, ENDS_WITHIN_S, cellblock, environment, run

MORE_WITHIN_S = 60.0


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """Where the command is started."""
    return tmp_path


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
    assert ran.stderr == (
        "cellblock: refused, nothing ran: line 2: Exec calls are not allowed. "
        "Write instead: the statements themselves, in a function.\n"
    )


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
