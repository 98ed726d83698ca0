"""What the lines that `notebook` rewrites do: magics, shell commands, explanations.

It is imported before there is a jail, which need not show it; what it needs of the standard
library is imported when a magic is used.
"""

import builtins
import contextlib
import io
import os
import re
import sys
import time
from collections.abc import Callable
from typing import Any

from sandbox.guest.display import figures
from sandbox.guest.display.display import Displays
from sandbox.guest.display.names import type_text
from sandbox.guest.language import imports

SKIPPED = frozenset(
    (
        *("load_ext", "reload_ext", "autoreload", "aimport", "config", "colors"),
        *("xmode", "precision", "autosave", "doctest_mode", "automagic", "pprint", "gui"),
        *("logstart", "logstop"),
    )
)
"""Magics that set up a notebook: there is nothing here for them to do."""
COMMANDS = frozenset(
    (
        *("ls", "cat", "cp", "mv", "rm", "mkdir", "rmdir", "head", "tail", "grep", "find", "wc"),
        *("touch", "man", "less"),
    )
)
"""Magics that are the shell command of that name."""
FORMS = {
    "html": "text/html",
    "markdown": "text/markdown",
    "latex": "text/latex",
    "svg": "image/svg+xml",
    "javascript": "application/javascript",
    "js": "application/javascript",
}
SHELLS = {"bash": "bash", "sh": "sh", "script": "sh"}
PIP = re.compile(r"(?:python3?\s+-m\s+)?pip3?\s+(?=install|download)")
INSERTED = re.compile(r"\{([^{}]+)\}|\$(\w+)")
TIMEIT = re.compile(r"\s*(?:-n\s*(\d+)\s*)?(?:-r\s*(\d+)\s*)?(?:-[oqtc]\s+)*")
REPEATS = 7
UNITS = ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs"), (1e-9, "ns"))


class Captured:
    """What `%%capture` kept."""

    def __init__(self) -> None:
        self._stdout, self._stderr = io.StringIO(), io.StringIO()

    @property
    def stdout(self) -> str:
        return self._stdout.getvalue()

    @property
    def stderr(self) -> str:
        return self._stderr.getvalue()

    def show(self) -> None:
        """Write out what was kept."""
        sys.stdout.write(self.stdout)
        sys.stderr.write(self.stderr)

    __call__ = show

    def __str__(self) -> str:
        return self.stdout


class Magics:
    """Runs the magics of a session's snippets; its variables are the snippets'."""

    def __init__(self, namespace: dict[str, Any], displays: Displays) -> None:
        self._namespace = namespace
        self._displays = displays
        self._endings = contextlib.ExitStack()

    def end(self) -> None:
        """End what goes around a snippet that is over."""
        self._endings.close()

    # ---- what rewritten lines call --------------------------------------------------------------

    def line(self, name: str, arguments: str) -> Any:
        """Run the magic `%name arguments`."""
        if name in SKIPPED:
            return None
        if name in COMMANDS:
            return self.shell(f"{name} {arguments}")
        act: Callable[[str], Any] | None = getattr(self, f"_line_{name}", None)
        if act is None:
            raise _unknown(f"%{name}")
        return act(arguments)

    def cell(self, name: str, arguments: str, body: str) -> Any:
        """Run the magic `%%name arguments` over the rest of the snippet."""
        if name in FORMS:
            self._displays.display({FORMS[name]: body}, raw=True)
            return None
        if name in SHELLS:
            shell = arguments.split()[0] if name == "script" and arguments else SHELLS[name]
            return self._run([shell, "-c", body])
        act: Callable[[str, str], Any] | None = getattr(self, f"_cell_{name}", None)
        if act is None:
            raise _unknown(f"%%{name}")
        return act(arguments, body)

    def around(self, name: str, arguments: str) -> None:
        """Begin what ends with the snippet."""
        if name == "time":
            started = _clocks()
            self._endings.callback(lambda: _say_times(started))
            return
        captured = Captured()
        words = [word for word in arguments.split() if not word.startswith("-")]
        if words:
            self._namespace[words[0]] = captured
        self._endings.enter_context(contextlib.redirect_stdout(captured._stdout))
        self._endings.enter_context(contextlib.redirect_stderr(captured._stderr))

    def shell(self, command: str) -> None:
        """Run a shell command; what it writes is the snippet's output."""
        command = self._inserted(command)
        pip = PIP.match(command)
        if pip is not None:
            self._line_pip(command[pip.end() :])
        else:
            self._run(["sh", "-c", command])

    def capture(self, command: str) -> list[str]:
        """The lines that a shell command writes."""
        import subprocess

        imports.in_force().admit("subprocess")
        done = subprocess.run(
            ["sh", "-c", self._inserted(command)], stdout=subprocess.PIPE, check=False
        )
        return done.stdout.decode(errors="replace").splitlines()

    def explain(self, expression: str, is_whole: bool) -> None:
        """Print what `expression` is: its signature and documentation, or its source."""
        import inspect

        value = eval(expression, self._namespace)
        print(f"Type:      {type_text(value)}")
        with contextlib.suppress(TypeError, ValueError):
            print(f"Signature: {expression}{inspect.signature(value)}")
        if is_whole:
            with contextlib.suppress(OSError, TypeError):
                print(f"Source:\n{inspect.getsource(value)}")
                return
        if not callable(value):
            print(f"Value:     {self._displays.echo(value)}")
        print(f"Docstring:\n{inspect.getdoc(value) or '<no docstring>'}")

    # ---- line magics ----------------------------------------------------------------------------

    def _line_time(self, statement: str) -> Any:
        code, is_expression = self._compiled(statement)
        started = _clocks()
        value = eval(code, self._namespace)
        _say_times(started)
        return value if is_expression else None

    def _line_timeit(self, statement: str) -> None:
        self._measure(statement, "")

    def _line_prun(self, statement: str) -> None:
        import cProfile

        cProfile.runctx(statement, self._namespace, self._namespace, sort="cumulative")

    def _line_run(self, arguments: str) -> None:
        import runpy
        import shlex

        words = shlex.split(arguments)
        if not words:
            raise ValueError("%run needs the name of a file")
        before, sys.argv = sys.argv, words
        try:
            result = runpy.run_path(words[0], run_name="__main__")
        finally:
            sys.argv = before
        self._namespace.update(
            {name: value for name, value in result.items() if not name.startswith("__")}
        )

    def _line_pip(self, arguments: str) -> None:
        import shlex
        import subprocess

        imports.in_force().admit("subprocess")
        sys.stdout.flush()
        done = subprocess.run(
            [sys.executable, "-m", "pip", *shlex.split(arguments)],
            stdout=None if sys.stdout is sys.__stdout__ else subprocess.PIPE,
            stderr=subprocess.PIPE,
            check=False,
        )
        sys.stdout.write((done.stdout or b"").decode(errors="replace"))
        said = done.stderr.decode(errors="replace").strip()
        if done.returncode:
            # What follows relies on it: better to hear of it here than at an import.
            raise RuntimeError(f"pip {arguments} failed\n{said}")
        if said:
            print(said, file=sys.stderr)

    def _line_conda(self, _arguments: str) -> None:
        raise _unknown("%conda", "there is no conda; `%pip list` names the packages that are here")

    _line_mamba = _line_conda

    def _line_pwd(self, _arguments: str) -> str:
        return os.getcwd()

    def _line_cd(self, path: str) -> None:
        os.chdir(os.path.expanduser(path.strip("'\"")) if path else os.environ["HOME"])
        print(os.getcwd())

    def _line_env(self, arguments: str) -> Any:
        name, sign, value = arguments.partition("=")
        if not sign:
            name, sign, value = arguments.partition(" ")
        if sign:
            os.environ[name.strip()] = self._inserted(value.strip())
            return None
        return os.environ[name] if name else dict(os.environ)

    _line_set_env = _line_env

    def _line_who(self, _arguments: str) -> None:
        print("\t".join(self._names()) or "There are no variables.")

    def _line_who_ls(self, _arguments: str) -> list[str]:
        return self._names()

    def _line_whos(self, _arguments: str) -> None:
        for name in self._names():
            value = self._namespace[name]
            text = " ".join(repr(value)[:80].split())
            print(f"{name:<20} {type_text(value):<24} {text}")

    def _line_reset(self, _arguments: str) -> None:
        for name in self._names():
            del self._namespace[name]

    def _line_matplotlib(self, arguments: str) -> None:
        for name in arguments.split():
            figures.drawable(name, 4)  # Figures are shown as they are; a window is warned of.

    def _line_pylab(self, _arguments: str) -> None:
        exec("import numpy as np, matplotlib.pyplot as plt", self._namespace)

    def _line_debug(self, _arguments: str) -> None:
        raise _unknown("%debug", "a debugger needs a terminal; print values instead")

    _line_pdb = _line_debug

    # ---- cell magics ----------------------------------------------------------------------------

    def _cell_timeit(self, arguments: str, body: str) -> None:
        self._measure(f"{arguments}\n{body}" if arguments.startswith("-") else body, arguments)

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
        self._run([sys.executable, "-c", body])

    _cell_python3 = _cell_python

    # ---- helpers --------------------------------------------------------------------------------

    def _names(self) -> list[str]:
        return sorted(name for name in self._namespace if not name.startswith("_"))

    def _compiled(self, statement: str) -> tuple[Any, bool]:
        try:
            return compile(statement, "<magic>", "eval"), True
        except SyntaxError:
            return compile(statement, "<magic>", "exec"), False

    def _measure(self, statement: str, setup: str) -> None:
        import statistics
        import timeit

        options = TIMEIT.match(statement)
        assert options is not None
        number, repeats = options.groups()
        setup = "" if setup.startswith("-") else setup
        timer = timeit.Timer(
            statement[options.end() :].strip("\n"), setup or "pass", globals=self._namespace
        )
        loops = int(number) if number else timer.autorange()[0]
        runs = timer.repeat(int(repeats or REPEATS), loops)
        times = [run / loops for run in runs]
        spread = statistics.stdev(times) if len(times) > 1 else 0.0
        print(
            f"{_duration(statistics.fmean(times))} ± {_duration(spread)} per loop"
            f" (mean ± std. dev. of {len(times)} runs, {loops:,} loops each)"
        )

    def _inserted(self, command: str) -> str:
        """`command` with `{expression}` and `$name` replaced by values of the session's."""

        def value(found: re.Match[str]) -> str:
            expression = found[1] or found[2]
            if found[2] and found[2] not in self._namespace:
                return found[0]
            try:
                return str(eval(expression, self._namespace))
            # What is no expression is the shell's.
            except Exception:  # noqa: BLE001
                return found[0]

        return INSERTED.sub(value, command)

    def _run(self, arguments: list[str]) -> None:
        import subprocess

        imports.in_force().admit("subprocess")
        sys.stdout.flush()
        if sys.stdout is sys.__stdout__:
            subprocess.run(arguments, check=False)
            return
        done = subprocess.run(
            arguments, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
        )
        sys.stdout.write(done.stdout.decode(errors="replace"))


def offer(magics: Magics) -> None:
    """Let rewritten lines find `magics`."""
    builtins.__notebook__ = magics  # type: ignore[attr-defined]


def _unknown(magic: str, instead: str = "write what it does in Python") -> NotImplementedError:
    return NotImplementedError(f"{magic} is not available here: {instead}")


def _clocks() -> tuple[float, float, float]:
    times = os.times()
    return time.perf_counter(), times.user, times.system


def _say_times(started: tuple[float, float, float]) -> None:
    wall, user, system = (now - then for now, then in zip(_clocks(), started, strict=True))
    print(
        f"CPU times: user {_duration(user)}, sys: {_duration(system)},"
        f" total: {_duration(user + system)}\nWall time: {_duration(wall)}"
    )


def _duration(seconds: float) -> str:
    for size, unit in UNITS:
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds / 1e-9:.3g} ns"
