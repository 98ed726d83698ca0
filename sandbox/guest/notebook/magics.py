"""What the lines that `forms` rewrites do: magics, shell commands, explanations.

It is imported before there is a jail, which need not show it; what it needs of the standard
library is imported when a magic is used.
"""

import builtins
import contextlib
import re
import sys
from collections.abc import Callable
from typing import Any

from sandbox.guest.notebook.line_magics import LineMagics, clocks, say_times
from sandbox.guest.notebook.results import Captured, Times
from sandbox.guest.notebook.shell import Shell
from sandbox.guest.notebook.shell import offer as offer_shell
from sandbox.guest.notebook.words import COMMANDS, FORMS, LISTINGS, SHELLS, SKIPPED, unknown

PIP = re.compile(r"(?:python3?\s+-m\s+)?pip3?\s+(?=install|download)")
SHELL_NAME = "get_ipython"


class Magics(LineMagics):
    """Runs the magics of a session's snippets; its variables are the snippets'."""

    def begin(self, text: str) -> None:
        """Begin with the snippet `text`."""
        if SHELL_NAME in text and not hasattr(builtins, SHELL_NAME):
            offer_shell(Shell(self, self.namespace))

    def end(self) -> None:
        """End what goes around a snippet that is over."""
        self._endings.close()

    # ---- what rewritten lines call --------------------------------------------------------------

    def line(self, name: str, arguments: str) -> Any:
        """Run the magic `%name arguments`."""
        if name in SKIPPED:
            return None
        if name in COMMANDS:
            return self.shell(f"{LISTINGS.get(name, name)} {arguments}")
        act: Callable[[str], Any] | None = getattr(self, f"_line_{name}", None)
        if act is None:
            raise unknown(f"%{name}")
        return act(arguments)

    def cell(self, name: str, arguments: str, body: str) -> Any:
        """Run the magic `%%name arguments` over the rest of the snippet."""
        if name in FORMS:
            self._displays.display({FORMS[name]: body}, raw=True)
            return None
        if name in SHELLS:
            shell = arguments.split()[0] if name == "script" and arguments else SHELLS[name]
            return self._script([shell, "-c", body])
        act: Callable[[str, str], Any] | None = getattr(self, f"_cell_{name}", None)
        if act is None:
            raise unknown(f"%%{name}")
        return act(arguments, body)

    def around(self, name: str, arguments: str) -> None:
        """Begin what ends with the snippet."""
        if name == "time":
            started = clocks()
            self._endings.callback(lambda: say_times(started))
            return
        captured = Captured(self._displays.display)
        words = arguments.split()
        for name in words:
            if not name.startswith("-"):
                self.namespace[name] = captured
        if "--no-stdout" not in words:
            into = contextlib.redirect_stdout(captured.stdout_stream)
            self._endings.enter_context(into)
        if "--no-stderr" not in words:
            self._endings.enter_context(contextlib.redirect_stderr(captured.stderr_stream))
        if "--no-display" not in words:
            self._endings.enter_context(self._displays.kept_in(captured.outputs))

    def shell(self, command: str) -> None:
        """Run a shell command; what it writes is the snippet's output."""
        command = self._inserted(command)
        pip = PIP.match(command)
        if pip is not None:
            self._line_pip(command[pip.end() :])
        else:
            self.namespace["_exit_code"] = self._run(["sh", "-c", command])

    # ---- cell magics ----------------------------------------------------------------------------

    def _cell_timeit(self, arguments: str, body: str) -> Times | None:
        """Time the rest of the snippet: `%%timeit [-n LOOPS] [-r REPEATS] [-q] [-o] SETUP`."""
        return self._measure(arguments, body)

    def _cell_prun(self, _arguments: str, body: str) -> None:
        self._line_prun(body)

    def _cell_writefile(self, arguments: str, body: str) -> None:
        import shlex

        words = shlex.split(arguments)
        is_appended = "-a" in words or "--append" in words
        names = [word for word in words if not word.startswith("-")]
        if len(names) != 1:
            raise ValueError("%%writefile needs the name of one file")
        verb = "Appending to" if is_appended else "Writing"
        with open(names[0], "a" if is_appended else "w") as stream:
            stream.write(body if body.endswith("\n") else body + "\n")
        print(f"{verb} {names[0]}")

    _cell_file = _cell_writefile

    def _cell_python(self, _arguments: str, body: str) -> None:
        self._script([sys.executable, "-c", body])

    _cell_python3 = _cell_python


def offer(magics: Magics) -> None:
    """Let rewritten lines find `magics`."""
    builtins.__notebook__ = magics  # type: ignore[attr-defined]
