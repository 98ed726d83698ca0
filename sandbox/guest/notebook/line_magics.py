"""Magics of one line, and what all magics share.

It is imported before there is a jail, which need not show it; what it needs of the standard
library is imported when a magic is used.
"""

import contextlib
import os
import re
import sys
import time
from typing import Any

from sandbox.guest.display import figures
from sandbox.guest.display.display import Displays
from sandbox.guest.display.names import type_text
from sandbox.guest.language import imports
from sandbox.guest.notebook.history import History
from sandbox.guest.notebook.results import Lines, Times, duration
from sandbox.guest.notebook.words import COMMANDS, FORMS, SHELLS, SKIPPED, unknown

INSERTED = re.compile(r"\{([^{}]+)\}|\$(\w+)")
TIMEIT = re.compile(r"(?:\s*-(?:[nr]\s*\d+|[oqtcpv]\d*)(?=\s|$))*\s*")
OPTION = re.compile(r"-([a-z])\s*(\d*)")
RANGE = re.compile(r"(?<![\w-])(\d+)(?:-(\d+))?(?!\w)")
REPEATS = 7


class LineMagics:
    """Runs the magics of one line; the variables are those of the snippets."""

    def __init__(self, namespace: dict[str, Any], displays: Displays, history: History) -> None:
        self.namespace = namespace
        self._history = history
        self._directory_before = ""
        self._displays = displays
        self._endings = contextlib.ExitStack()

    def capture(self, command: str) -> Lines:
        """The lines that a shell command writes."""
        import subprocess

        imports.in_force().admit("subprocess")
        done = subprocess.run(
            ["sh", "-c", self._inserted(command)], stdout=subprocess.PIPE, check=False
        )
        return Lines(done.stdout.decode(errors="replace").splitlines())

    def explain(self, expression: str, is_whole: bool) -> None:
        """Print what `expression` is: its signature and documentation, or its source."""
        import inspect

        try:
            value = eval(expression, self.namespace)
        except (NameError, AttributeError):
            magic = getattr(self, f"_line_{expression}", getattr(self, f"_cell_{expression}", None))
            if magic is None:
                print(f"Object `{expression}` not found.")
            else:
                print(f"Magic:     {expression}\nDocstring:\n{inspect.getdoc(magic)}")
            return
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
        started = clocks()
        value = eval(code, self.namespace)
        say_times(started)
        return value if is_expression else None

    def _line_timeit(self, statement: str) -> Times | None:
        """Time a statement: `%timeit [-n LOOPS] [-r REPEATS] [-q] [-o] STATEMENT`."""
        return self._measure(statement, None)

    def _line_prun(self, statement: str) -> None:
        import cProfile

        cProfile.runctx(statement, self.namespace, self.namespace, sort="cumulative")

    def _line_run(self, arguments: str) -> None:
        import runpy
        import shlex

        words = shlex.split(arguments)
        options = set()
        while words and words[0].startswith("-") and words[0] != "-m":
            options.add(words.pop(0))
        is_module = bool(words) and words[0] == "-m"
        del words[: int(is_module)]
        if not words:
            raise ValueError("%run needs the name of a file")
        name = "__main__" if "-n" not in options else os.path.basename(words[0]).partition(".")[0]
        before, sys.argv = sys.argv, words
        try:
            if is_module:
                result = runpy.run_module(words[0], run_name=name, alter_sys=True)
            else:
                path = words[0] if os.path.exists(words[0]) else f"{words[0]}.py"
                seen = dict(self.namespace) if "-i" in options else None
                result = runpy.run_path(path, seen, name)
        finally:
            sys.argv = before
        self.namespace.update(
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

    def _line_pwd(self, _arguments: str) -> str:
        return os.getcwd()

    def _line_cd(self, path: str) -> None:
        path = path.removeprefix("-q").strip().strip("'\"")
        here = os.getcwd()
        if path == "-" and not self._directory_before:
            raise ValueError("%cd - goes back, and no %cd was before it")
        to = self._directory_before if path == "-" else os.path.expanduser(path or "~")
        os.chdir(to)
        self._directory_before = here
        print(os.getcwd())

    def _line_env(self, arguments: str) -> Any:
        name, sign, value = arguments.partition("=")
        if not sign:
            name, sign, value = arguments.partition(" ")
        if sign:
            os.environ[name.strip()] = self._inserted(value.strip())
            print(f"env: {name.strip()}={os.environ[name.strip()]}")
            return None
        return os.environ[name] if name else dict(os.environ)

    _line_set_env = _line_env

    def _line_who(self, arguments: str) -> None:
        print("\t".join(self._names(arguments)) or "There are no variables.")

    def _line_who_ls(self, arguments: str) -> list[str]:
        return self._names(arguments)

    def _line_whos(self, arguments: str) -> None:
        for name in self._names(arguments):
            value = self.namespace[name]
            text = " ".join(repr(value)[:80].split())
            print(f"{name:<20} {type_text(value):<24} {text}")

    def _line_reset(self, _arguments: str) -> None:
        for name in self._names():
            del self.namespace[name]
        self._history.forget()

    def _line_reset_selective(self, arguments: str) -> None:
        pattern = re.compile(arguments.removeprefix("-f").strip())
        for name in self._names():
            if pattern.search(name):
                del self.namespace[name]

    def _line_xdel(self, arguments: str) -> None:
        name = arguments.removeprefix("-n").strip()
        del self.namespace[name]
        self._history.forget()

    def _line_history(self, arguments: str) -> None:
        numbers, is_numbered = _numbers(arguments), "-n" in arguments.split()
        for number, text in self._history.sources(numbers):
            print(f"{number:>4}: {text}" if is_numbered else text)

    _line_hist = _line_history

    def _line_save(self, arguments: str) -> None:
        words = [word for word in arguments.split() if not word.startswith("-")]
        if not words:
            raise ValueError("%save needs the name of a file")
        name = words[0] if "." in words[0] else f"{words[0]}.py"
        found = self._history.sources(_numbers(" ".join(words[1:])))
        with open(name, "w", encoding="utf-8") as stream:
            stream.writelines(f"{text}\n" for _number, text in found)
        print(f"The following commands were written to file `{name}`:")
        print("\n".join(text for _number, text in found))

    def _line_pycat(self, arguments: str) -> None:
        with open(arguments.strip(), encoding="utf-8", errors="replace") as stream:
            print(stream.read())

    def _line_system(self, command: str) -> Lines:
        return self.capture(command)

    _line_sx = _line_system

    def _line_sc(self, arguments: str) -> None:
        name, _, command = arguments.rpartition("-l ")[2].partition("=")
        found = self.capture(command)
        self.namespace[name.strip()] = found if "-l " in arguments else found.n

    def _line_uv(self, arguments: str) -> None:
        if not arguments.startswith("pip "):
            raise unknown("%uv")
        self._line_pip(arguments.removeprefix("pip ").strip())

    def _line_pinfo(self, expression: str) -> None:
        self.explain(expression, False)

    _line_pdoc = _line_pdef = _line_pinfo

    def _line_pinfo2(self, expression: str) -> None:
        self.explain(expression, True)

    _line_psource = _line_pfile = _line_pinfo2

    def _line_lsmagic(self, _arguments: str) -> None:
        lines, cells = (
            {name[6:] for name in dir(self) if name.startswith(kind)}
            for kind in ("_line_", "_cell_")
        )
        print("Lines: ", *(f"%{name}" for name in sorted(lines | COMMANDS | SKIPPED)))
        cells |= {*FORMS, *SHELLS, "time", "capture"}
        print("Cells: ", *(f"%%{name}" for name in sorted(cells)))
        print("and !COMMAND, NAME = !COMMAND, NAME?, NAME??")

    _line_magic = _line_quickref = _line_lsmagic

    def _line_matplotlib(self, arguments: str) -> None:
        for name in arguments.split():
            figures.drawable(name, 4)  # Figures are shown as they are; a window is warned of.

    def _line_pylab(self, _arguments: str) -> None:
        code = "import numpy as np, matplotlib.pyplot as plt\nfrom matplotlib.pylab import *"
        exec(code, self.namespace)

    # ---- helpers --------------------------------------------------------------------------------

    def _names(self, kinds: str = "") -> list[str]:
        wanted = kinds.split()
        return sorted(
            name
            for name, value in self.namespace.items()
            if not name.startswith("_") and (not wanted or type(value).__name__ in wanted)
        )

    def _compiled(self, statement: str) -> tuple[Any, bool]:
        try:
            return compile(statement, "<magic>", "eval"), True
        except SyntaxError:
            return compile(statement, "<magic>", "exec"), False

    def _measure(self, arguments: str, body: str | None) -> Times | None:
        import timeit

        options = TIMEIT.match(arguments)
        assert options is not None
        given = dict(OPTION.findall(options[0]))
        rest = arguments[options.end() :].strip("\n")
        statement, setup = (rest, "pass") if body is None else (body, rest or "pass")
        timer = timeit.Timer(statement.strip("\n"), setup, globals=self.namespace)
        loops = int(given["n"]) if given.get("n") else timer.autorange()[0]
        times = Times(loops, timer.repeat(int(given.get("r") or REPEATS), loops))
        if "q" not in given:
            print(times)
        return times if "o" in given else None

    def _inserted(self, command: str) -> str:
        """`command` with `{expression}` and `$name` replaced by values of the session's."""

        def value(found: re.Match[str]) -> str:
            expression = found[1] or found[2]
            if found[2] and found[2] not in self.namespace:
                return found[0]
            try:
                return str(eval(expression, self.namespace))
            # What is no expression is the shell's.
            except Exception:  # noqa: BLE001
                return found[0]

        return INSERTED.sub(value, command)

    def _script(self, arguments: list[str]) -> None:
        """Run a program that a cell is; raises if it fails, as what follows relies on it."""
        import subprocess

        code = self._run(arguments)
        if code:
            raise subprocess.CalledProcessError(code, arguments[0])

    def _run(self, arguments: list[str]) -> int:
        import subprocess

        imports.in_force().admit("subprocess")
        sys.stdout.flush()
        if sys.stdout is sys.__stdout__:
            return subprocess.run(arguments, check=False).returncode
        done = subprocess.run(
            arguments, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
        )
        sys.stdout.write(done.stdout.decode(errors="replace"))
        return done.returncode


def _numbers(arguments: str) -> list[int]:
    """The numbers of snippets in `1 4-6`; none for all."""
    found: list[int] = []
    for first, last in RANGE.findall(arguments):
        found += range(int(first), int(last or first) + 1)
    return found


def clocks() -> tuple[float, float, float]:
    times = os.times()
    return time.perf_counter(), times.user, times.system


def say_times(started: tuple[float, float, float]) -> None:
    wall, user, system = (now - then for now, then in zip(clocks(), started, strict=True))
    print(
        f"CPU times: user {duration(user)}, sys: {duration(system)},"
        f" total: {duration(user + system)}\nWall time: {duration(wall)}"
    )
