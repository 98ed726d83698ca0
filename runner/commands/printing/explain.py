"""`--explain`: what was tried and refused, which layers held, and the bill."""

from rich.console import Console
from rich.table import Table
from rich.text import Text

from runner.commands.printing import wording
from runner.commands.printing.consoles import print_trimmed
from runner.terminal import one_line
from sandbox import Outcome

ALARMING = {"raised": "yellow", "limit_exceeded": "red", "died": "red", "refused": "red"}


def explain(outcome: Outcome, console: Console) -> None:
    """Print the account of `outcome`. All that a guest had a hand in is escaped."""
    rows = Table.grid(padding=(0, 2))
    rows.add_column(style="bold", no_wrap=True)
    rows.add_column(overflow="fold")
    rows.add_row("ended", Text(wording.ending(outcome), ALARMING.get(outcome.status, "green")))
    rows.add_row("state", Text(wording.state(outcome)))
    _add_denials(rows, outcome)
    held = ", ".join(outcome.layers)
    rows.add_row("tier", Text(f"{outcome.tier}; {len(outcome.layers)} layers held: {held}"))
    rows.add_row("bill", Text(wording.bill(outcome)))
    for stream, cut in (
        ("stdout", outcome.truncated.stdout),
        ("stderr", outcome.truncated.stderr),
    ):
        if cut.dropped_bytes:
            words = f"{stream}: {cut.dropped_bytes} of {cut.kept_bytes + cut.dropped_bytes} bytes"
            rows.add_row("left out", Text(words))
    for artifact in outcome.artifacts:
        mime = one_line(artifact.mime)
        words = f"{one_line(artifact.path)}  {wording.size(artifact.size_bytes)}, {mime}"
        rows.add_row(artifact.change, Text(words))
    print_trimmed(rows, console)


def _add_denials(rows: Table, outcome: Outcome) -> None:
    if not outcome.denials:
        rows.add_row("refused", Text("nothing"))
    for denial in outcome.denials:
        words = Text(f"{one_line(denial.layer)}: {one_line(denial.tried)}", "red")
        words.append(f"\nrule: {one_line(denial.rule)}", "default")
        if denial.hint:
            words.append(f"\nhint: {one_line(denial.hint)}", "default")
        rows.add_row("refused", words)
