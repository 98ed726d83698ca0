"""`cellblock check`: what a snippet would need and what would be refused, from reading it."""

import json

from rich.console import Console
from rich.table import Table
from rich.text import Text

from runner.commands.consoles import console, print_trimmed
from runner.terminal import one_line
from sandbox import Checked, Policy, Sandbox

EXIT_NOTHING_REFUSED = 0
EXIT_NO_PYTHON = 1
EXIT_REFUSED = 126
REFUSING = ("refuse", "kill")


def execute(code: str, policy: Policy, *, as_json: bool) -> int:
    """Check `code` and print what was found; the exit status."""
    # Nothing runs, so nothing need be imported ahead of it.
    reading = policy.model_copy(update={"preload": (), "survive": False})
    with Sandbox(reading, pool_size=0) as box:
        found = box.check(code)
    if as_json:
        print(json.dumps(to_object(found)))
    else:
        render(found, policy, console())
    if found.syntax_error:
        return EXIT_NO_PYTHON
    return EXIT_REFUSED if found.refusals else EXIT_NOTHING_REFUSED


def to_object(found: Checked) -> dict[str, object]:
    """The findings as JSON has them."""
    return {
        "imports": [
            dict(zip(("module", "line", "action", "rule"), row, strict=True))
            for row in found.imports
        ],
        "refusals": [
            dict(zip(("line", "construct", "reason"), row, strict=True)) for row in found.refusals
        ],
        "syntax_error": found.syntax_error,
    }


def render(found: Checked, policy: Policy, out: Console) -> None:
    """Print the findings as text."""
    if found.syntax_error:
        out.print(Text(f"It does not compile: {one_line(found.syntax_error)}", "red"))
        return
    if found.imports:
        table = _table("imports", "line", "action", "rule")
        for module, line, action, rule in found.imports:
            style = "red" if action in REFUSING else ""
            cells = (one_line(str(cell)) for cell in (module, line, action))
            table.add_row(*(Text(cell, style) for cell in cells), Text(one_line(str(rule))))
        print_trimmed(table, out)
    else:
        out.print("It imports nothing.")
    out.print()
    if not found.refusals:
        out.print(Text(f"Nothing would be refused (language {policy.language}).", "green"))
        return
    table = _table("line", "would be refused", "why")
    for line, construct, reason in found.refusals:
        table.add_row(str(line), Text(one_line(str(construct)), "red"), Text(one_line(str(reason))))
    print_trimmed(table, out)


def _table(*headings: str) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), header_style="bold")
    for heading in headings:
        table.add_column(heading, overflow="fold")
    return table
