"""`cellblock trace`: checks the logs that `cellblock run --trace FILE` writes."""

from pathlib import Path

import click

from runner.commands.printing.helping import WholeHelp

EXIT_BROKEN = 1
EXISTING = click.Path(exists=True, dir_okay=False, readable=True, path_type=Path)


@click.group("trace", cls=WholeHelp)
def trace_group() -> None:
    """Check logs of what snippets tried."""


@trace_group.command("verify")
@click.argument("file", type=EXISTING)
def verify_command(file: Path) -> None:
    """Say whether the log FILE is whole: every line follows from the one before.

    Exit status: 0 whole, 1 a line was changed, removed or put in, or the last run has no end.
    """
    from runner.commands.explaining.event_log import verify
    from runner.terminal import one_line

    found = verify(file)
    name = one_line(str(file))
    if found.problem:
        click.echo(f"{name}: line {found.line}: {found.problem}", err=True)
        raise click.exceptions.Exit(EXIT_BROKEN)
    runs = "1 run" if found.runs == 1 else f"{found.runs} runs"
    click.echo(f"{name}: whole, {found.lines} events of {runs}, last hash {found.last}")
