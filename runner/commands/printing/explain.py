"""`--explain`: the verdict, what was tried, what was refused by which rule, and the bill."""

from rich.console import Console
from rich.table import Table
from rich.text import Text

from runner.commands.explaining import account
from runner.commands.explaining.verdict import judge
from runner.commands.printing import wording
from runner.commands.printing.consoles import print_trimmed
from runner.terminal import one_line
from sandbox import Outcome

ALARMING = {"raised": "yellow", "limit_exceeded": "red", "died": "red", "refused": "red"}
SEVERITY_STYLES = {"note": "green", "warning": "yellow", "danger": "bold red"}


def explain(outcome: Outcome, console: Console) -> None:
    """Print the account of `outcome`. All that a guest had a hand in is escaped."""
    rows = Table.grid(padding=(0, 2))
    rows.add_column(style="bold", no_wrap=True)
    rows.add_column(overflow="fold")
    verdict = outcome.verdict or judge(outcome)
    words = Text(one_line(verdict.reason), SEVERITY_STYLES[verdict.severity])
    rows.add_row(verdict.severity, words)
    rows.add_row("ended", Text(wording.ending(outcome), ALARMING.get(outcome.status, "green")))
    rows.add_row("state", Text(wording.state(outcome)))
    for section in account.sections(outcome):
        if not section.lines:
            rows.add_row(section.title, Text("nothing"))
        for place, line in enumerate(section.lines):
            title = section.title if place == 0 or section.title == "refused" else ""
            rows.add_row(title, _shown(line))
    for artifact in outcome.artifacts:
        mime = one_line(artifact.mime)
        shown = f"{one_line(artifact.path)}  {wording.size(artifact.size_bytes)}, {mime}"
        rows.add_row(artifact.change, Text(shown))
    for stream, cut in (
        ("stdout", outcome.truncated.stdout),
        ("stderr", outcome.truncated.stderr),
    ):
        if cut.dropped_bytes:
            shown = f"{stream}: {cut.dropped_bytes} of {cut.kept_bytes + cut.dropped_bytes} bytes"
            rows.add_row("left out", Text(shown))
    rows.add_row("bill", Text(wording.bill(outcome)))
    rows.add_row("tier", Text(account.layers(outcome)))
    print_trimmed(rows, console)


def _shown(line: account.Line) -> Text:
    words = Text(one_line(line.text), "red" if line.is_refused else "")
    for other in line.more:
        words.append(f"\n{one_line(other)}", "default")
    return words
