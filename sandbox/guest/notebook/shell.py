"""The `get_ipython()` of snippets: notebooks that were exported as scripts call magics through it.

Only snippets find it. To libraries there is no interactive shell: what they would do with one, such
as register formatters or draw progress bars as widgets, is not for here.
"""

import builtins
import sys
from typing import Any

from sandbox.guest.notebook.results import Lines


class Shell:
    """Calls magics as IPython's InteractiveShell does."""

    def __init__(self, magics: Any, namespace: dict[str, Any]) -> None:
        self._magics = magics
        self.user_ns = self.user_global_ns = namespace

    def run_line_magic(self, magic_name: str, line: str, _stack_depth: int = 1) -> Any:
        """Run `%magic_name line`."""
        return self._magics.line(magic_name, line)

    def run_cell_magic(self, magic_name: str, line: str, cell: str) -> Any:
        """Run `%%magic_name line` over `cell`."""
        if magic_name in ("time", "timeit"):
            return self._magics.line(magic_name, cell.strip("\n"))
        return self._magics.cell(magic_name, line, cell)

    def magic(self, arg_s: str) -> Any:
        """Run the magic in `arg_s`, with its arguments."""
        name, _, line = arg_s.lstrip("%").partition(" ")
        return self.run_line_magic(name, line)

    def system(self, cmd: str) -> None:
        """Run a shell command; what it writes is the snippet's output."""
        self._magics.shell(cmd)

    def getoutput(self, cmd: str, split: bool = True, depth: int = 0) -> Any:
        """The lines that a shell command writes, or with `split=False` its text."""
        lines: Lines = self._magics.capture(cmd)
        return lines if split else lines.n

    def ev(self, expr: str) -> Any:
        """The value of an expression of the session's."""
        return eval(expr, self.user_ns)

    def ex(self, cmd: str) -> None:
        """Run statements in the session."""
        exec(cmd, self.user_ns)

    def push(self, variables: dict[str, Any], interactive: bool = True) -> None:
        """Set variables of the session."""
        self.user_ns.update(variables)

    def run_cell(self, raw_cell: str, *_options: object, **_more: object) -> None:
        """Run source as a snippet's."""
        exec(raw_cell, self.user_ns)


def offer(shell: Shell) -> None:
    """Let snippets, and nothing else, find `shell` by `get_ipython()`.

    Called once a snippet names it: libraries look whether there is such a name, and rich calls it
    for the name of its class. They get None, which is no shell to any.
    """

    def get_ipython() -> Shell | None:
        """The shell of this session."""
        return shell if sys._getframe(1).f_globals is shell.user_ns else None

    builtins.get_ipython = get_ipython  # type: ignore[attr-defined]
