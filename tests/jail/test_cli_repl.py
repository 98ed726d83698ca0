"""`cellblock repl`, through a pipe and at a terminal."""

import os
import pty
import re
import select
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.jail.command_line import COMMAND, ENDS_WITHIN_S, cellblock, environment, run

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
