"""Consoles for tables: as wide as the terminal, or wide enough where there is none."""

from rich.console import Console, RenderableType

WIDTH_WITHOUT_TERMINAL = 100


def console(*, stderr: bool = False) -> Console:
    """A console on this process's stdout or stderr. It reads no markup, and adds no colours."""
    found = Console(stderr=stderr, highlight=False, markup=False, emoji=False)
    if not found.is_terminal:
        found.width = WIDTH_WITHOUT_TERMINAL
    return found


def print_trimmed(what: RenderableType, console: Console) -> None:
    """Print `what` without the blanks that fill up its columns."""
    with console.capture() as printed:
        console.print(what)
    for line in printed.get().splitlines():
        console.out(line.rstrip(), highlight=False)
