"""`cellblock eval`: grade samples by a benchmark suite."""

import json
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click
from click.core import ParameterSource

if TYPE_CHECKING:
    from runner.evals.run import Engine

EXIT_EVERY_VERDICT = 0
EXIT_BAD_INPUT = 2
EXIT_SOME_INFRASTRUCTURE = 3
EXIT_OUTPUT_FAILED = 74
"""EX_IOERR of sysexits.h."""
SHOW_EVERY_S = 5.0
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
    help="Seconds of a sample, by the rule of --limits; the suite's own if not given.",
)
@click.option(
    "--limits",
    type=click.Choice(["cpu", "reference"]),
    default="cpu",
    show_default=True,
    help="What the seconds are: of CPU on a machine of the reference speed, or of wall time here,"
    " as the reference harnesses count.",
)
@click.option(
    "--speed",
    type=click.FloatRange(0.1, 20.0),
    metavar="X",
    help="CPU seconds here for one of the reference machine's; measured if not given.",
)
@click.option("--tasks", default="", metavar="GLOB", help="Only tasks with such ids.")
@click.option("--limit", type=click.IntRange(1), metavar="N", help="Only the first N tasks.")
@click.option(
    "--engine",
    default="local",
    metavar="local|ray[:ADDRESS]",
    show_default=True,
    help="Where samples run.",
)
@click.option("--resume", is_flag=True, help="Go on with the results that --out has.")
@click.option("--overwrite", is_flag=True, help="Write over the results that --out has.")
@click.option("--recheck/--no-recheck", default=True, help="Run again what ended near its limit.")
@click.option(
    "--fresh-jails",
    is_flag=True,
    help="Keep nothing of a jail from one run to the next, not even what is proven untouched.",
)
@click.option(
    "--model",
    metavar="NAME",
    help="First ask this model for the samples: SAMPLES is written, and gone on with by --resume.",
)
@click.option(
    "--generations",
    "--draws",
    "generations",
    type=click.IntRange(1, 10_000),
    default=1,
    show_default=True,
    help="With --model: answers to each task. --draws is the older name.",
)
@click.option(
    "--temperature", type=click.FloatRange(0.0, 2.0), help="With --model: the model's if not given."
)
@click.option("--max-tokens", type=click.IntRange(1), help="With --model: of one answer.")
@click.option("--config", type=FILE, help="With --model: the settings that say where models are.")
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
    limits: Literal["cpu", "reference"],
    speed: float | None,
    tasks: str,
    limit: int | None,
    engine: str,
    resume: bool,
    overwrite: bool,
    recheck: bool,
    fresh_jails: bool,
    model: str | None,
    generations: int,
    temperature: float | None,
    max_tokens: int | None,
    config: str | None,
    html: str | None,
    against: str | None,
    as_json: bool,
) -> None:
    """Grade SAMPLES.jsonl by a benchmark: pass@k, and a verdict for each sample.

    Suites: humaneval, humaneval-plus, mbpp, mbpp-plus, cruxeval, classeval, bigcodebench, ds1000,
    dabench, stdio, custom.

    Exit status: 0 every sample got a verdict, 3 some got none because the machine or the model's
    endpoint failed, 2 bad input, 74 results could not be written, 125 the engine cannot isolate
    here.
    """
    if against is not None and html is None:
        raise click.UsageError("--against needs --html: the comparison is on that page.")

    from rich.console import Console

    from runner.errors import ConfigError, RequestError
    from runner.evals import BadInput, GenerationFailed, OutputFailed, evaluate
    from runner.evals.report.page import write_page
    from runner.evals.report.progress import ProgressView
    from runner.evals.report.table import render, summary
    from runner.evals.samples.journal import require_free

    try:
        if out is not None and not (resume or overwrite):
            require_free(out)
        if model is not None:
            which = {"data": data, "sha256": sha256, "tasks": tasks, "limit": limit}
            draw: dict[str, str | int | float | None] = {
                "model": model,
                "samples": generations,
                "temperature": temperature,
                "max_tokens": max_tokens,
            }
            _draw(suite, samples, which, resume, config, draw)
        with ExitStack() as stack:
            view: list[ProgressView] = []
            began = time.monotonic()

            def show(*event: object) -> None:
                done, total, sample, verdict = event
                if not view:
                    view.append(stack.enter_context(ProgressView(int(str(total)), began=began)))
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
                limits=limits,
                speed=speed,
                tasks=tasks,
                limit=limit,
                resume=resume and (model is None or out is not None),
                overwrite=overwrite,
                recheck=recheck,
                fresh_jails=fresh_jails,
                engine=engine_called(engine),
                progress=show,
            )
        if html is not None:
            write_page(report, html, against=against)
    except (BadInput, ConfigError, RequestError) as error:
        click.echo(f"cellblock eval: {error}", err=True)
        sys.exit(EXIT_BAD_INPUT)
    except GenerationFailed as error:
        click.echo(f"cellblock eval: {error}", err=True)
        sys.exit(EXIT_SOME_INFRASTRUCTURE)
    except OutputFailed as error:
        click.echo(f"cellblock eval: {error}", err=True)
        sys.exit(EXIT_OUTPUT_FAILED)
    _tell_left_out(ks, report.score.pass_at)
    if as_json:
        click.echo(json.dumps(summary(report)))
    else:
        width = None if sys.stdout.isatty() else WIDTH_WITHOUT_TERMINAL
        render(report, Console(highlight=False, width=width))
    sys.exit(EXIT_SOME_INFRASTRUCTURE if report.score.excluded else EXIT_EVERY_VERDICT)


def _tell_left_out(ks: tuple[int, ...], pass_at: "dict[int, float]") -> None:
    """Say for which k that the user named there is no figure."""
    source = click.get_current_context().get_parameter_source("ks")
    if source is not ParameterSource.COMMANDLINE:
        return
    for k in (k for k in ks if k not in pass_at):
        why = f"it needs {k} samples of each task that have a verdict"
        click.echo(f"cellblock eval: pass@{k} is left out: {why}", err=True)


def _draw(
    suite: str,
    samples: str,
    which: "dict[str, Any]",
    resume: bool,
    config: str | None,
    wanted: "dict[str, str | int | float | None]",
) -> None:
    """Have a model answer the tasks of `suite`, into the file `samples`."""
    import asyncio

    from runner.commands.printing.models_missing import NO_MODEL
    from runner.config import Config, ModelSettings
    from runner.evals.generation import Draw, generate
    from runner.models.directory import Directory
    from runner.models.weights import QWEN_CODER

    async def go() -> None:
        models = dict(Config.load(Path(config) if config else None).models)
        if wanted["model"] == QWEN_CODER.name:
            # The name that `cellblock model list` shows, whatever else is configured. It answers
            # for no other name here: scores are of the model that they name.
            models.setdefault(QWEN_CODER.name, ModelSettings(kind="embedded"))
        directory = Directory(models)
        if directory.is_empty:
            click.echo(NO_MODEL, err=True)
            sys.exit(EXIT_BAD_INPUT)
        draw = Draw.model_validate(wanted)
        last = time.monotonic()

        def show(done: int, total: int) -> None:
            nonlocal last
            if done == total or time.monotonic() - last >= SHOW_EVERY_S:
                last = time.monotonic()
                click.echo(f"{done}/{total} answers of {draw.model}", err=True)

        try:
            served = directory.find(draw.model)
            profile = served.profile
            settled = draw.model_copy(
                update={
                    "system": profile.system,
                    "temperature": profile.temperature
                    if draw.temperature is None
                    else draw.temperature,
                    "max_tokens": draw.max_tokens or profile.max_tokens,
                }
            )
            await generate(
                suite,
                served.model,
                settled,
                samples,
                resume=resume,
                progress=show,
                **which,
            )
        finally:
            await directory.close()

    asyncio.run(go())


def engine_called(name: str) -> "Engine | None":
    """Return the engine that `--engine` names; None for this machine's. Raises BadInput."""
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
