"""`cellblock eval`: grade samples by a benchmark suite."""

import json
import sys
from contextlib import ExitStack
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from runner.evals.run import Engine

EXIT_EVERY_VERDICT = 0
EXIT_BAD_INPUT = 2
EXIT_SOME_INFRASTRUCTURE = 3
EXIT_OUTPUT_FAILED = 74
"""EX_IOERR of sysexits.h."""
WIDTH_WITHOUT_TERMINAL = 100
FILE = click.Path(dir_okay=False)


def _counts(_context: click.Context, _option: click.Parameter, value: str) -> tuple[int, ...]:
    try:
        ks = tuple(int(part) for part in value.split(","))
    except ValueError:
        raise click.BadParameter(f"{value!r} is no list of numbers such as 1,10,100") from None
    if any(k < 1 for k in ks):
        raise click.BadParameter("every k must be at least 1")
    return ks


@click.command("eval")
@click.argument("suite")
@click.argument("samples", type=FILE)
@click.option("--data", type=FILE, help="The suite's file, if no installed package brings it.")
@click.option("--sha256", metavar="HEX", help="The hash that the suite's file must have.")
@click.option("--out", type=FILE, help="Where results go; kept as they come.")
@click.option(
    "--k",
    "ks",
    default="1,10,100",
    callback=_counts,
    metavar="1,10,100",
    help="For which k pass@k is estimated.",
)
@click.option("--jobs", type=click.IntRange(1, 64), help="Samples at a time; one a processor.")
@click.option(
    "--timeout",
    type=click.FloatRange(0.05, 3600.0),
    metavar="S",
    help="CPU seconds of a sample; the suite's own if not given.",
)
@click.option(
    "--engine",
    default="local",
    metavar="local|ray[:ADDRESS]",
    show_default=True,
    help="Where samples run.",
)
@click.option("--resume", is_flag=True, help="Go on with the results that --out has.")
@click.option("--recheck/--no-recheck", default=True, help="Run again what ended near its limit.")
@click.option("--html", type=FILE, help="Write the report as one HTML page too.")
@click.option("--against", type=FILE, help="With --html: results of another run to compare with.")
@click.option("--json", "as_json", is_flag=True, help="Print the figures as one JSON object.")
def eval_command(
    suite: str,
    samples: str,
    data: str | None,
    sha256: str | None,
    out: str | None,
    ks: tuple[int, ...],
    jobs: int | None,
    timeout: float | None,
    engine: str,
    resume: bool,
    recheck: bool,
    html: str | None,
    against: str | None,
    as_json: bool,
) -> None:
    """Grade SAMPLES.jsonl by a benchmark: pass@k, and a verdict for each sample.

    Suites: humaneval, humaneval-plus, mbpp, mbpp-plus, cruxeval, classeval, bigcodebench, ds1000,
    dabench, stdio, custom.

    Exit status: 0 every sample got a verdict, 3 some got none because the machine failed, 2 bad
    input, 74 results could not be written, 125 the engine cannot isolate here.
    """
    from rich.console import Console

    from runner.evals import BadInput, OutputFailed, evaluate
    from runner.evals.page import write_page
    from runner.evals.progress import ProgressView
    from runner.evals.table import render, summary

    try:
        with ExitStack() as stack:
            view: list[ProgressView] = []

            def show(*event: object) -> None:
                done, total, sample, verdict = event
                if not view:
                    view.append(stack.enter_context(ProgressView(int(str(total)))))
                view[0](done, total, sample, verdict)  # type: ignore[arg-type]

            report = evaluate(
                suite,
                samples,
                data=data,
                sha256=sha256,
                out=out,
                k=ks,
                jobs=jobs,
                timeout_s=timeout,
                resume=resume,
                recheck=recheck,
                engine=engine_called(engine),
                progress=show,
            )
        if html is not None:
            write_page(report, html, against=against)
    except BadInput as error:
        click.echo(f"cellblock eval: {error}", err=True)
        sys.exit(EXIT_BAD_INPUT)
    except OutputFailed as error:
        click.echo(f"cellblock eval: {error}", err=True)
        sys.exit(EXIT_OUTPUT_FAILED)
    if as_json:
        click.echo(json.dumps(summary(report)))
    else:
        width = None if sys.stdout.isatty() else WIDTH_WITHOUT_TERMINAL
        render(report, Console(highlight=False, width=width))
    sys.exit(EXIT_SOME_INFRASTRUCTURE if report.score.excluded else EXIT_EVERY_VERDICT)


def engine_called(name: str) -> "Engine | None":
    """The engine that `--engine` names; None for this machine's. Raises BadInput."""
    from runner.evals import BadInput

    if name == "local":
        return None
    kind, _, address = name.partition(":")
    if kind != "ray":
        raise BadInput(
            "", f"is {name!r}", field="--engine", remedy="It is local, ray or ray:ADDRESS"
        )
    from runner.evals.cluster import RayEngine

    return RayEngine(address or None)
