"""A report as text for a terminal, and as one JSON object."""

from rich.console import Console
from rich.table import Table

from runner.evals.run import Report
from runner.evals.samples.manifest import path_beside
from runner.evals.samples.records import Verdict
from runner.terminal import one_line

FLAKES_SHOWN = 10
FAILURES_SHOWN = 3
LINES_SHOWN = 10
LINE_SHOWN = 160


def summary(report: Report) -> dict[str, object]:
    """The figures of a report, for `--json`."""
    score = report.score
    return {
        "suite": report.manifest.suite,
        "tasks": score.tasks,
        "tasks_without_samples": score.tasks_without_samples,
        "samples": score.samples,
        "outcomes": score.outcomes,
        "pass_at": {f"pass@{k}": value for k, value in score.pass_at.items()},
        "infrastructure": score.excluded,
        "flaky": [
            {"index": sample.index, "task_id": sample.task_id, "why": verdict.flaky}
            for sample, verdict in report.flaky()
        ],
        "limit": {
            "rule": report.manifest.settings.limits,
            "timeout_s": report.manifest.settings.timeout_s,
            "words": report.manifest.limit(),
        },
        "speed": report.manifest.speed,
        "speed_range": report.manifest.speed_range,
        "out": None if report.out is None else str(report.out),
        "suite_sha256": report.manifest.suite_sha256,
    }


def render(report: Report, console: Console) -> None:
    """Print the report: scores, outcomes, what may change, what is missing."""
    score = report.score
    table = Table(title=f"{report.manifest.suite}: {score.samples} samples of {score.tasks} tasks")
    table.add_column("figure")
    table.add_column("value", justify="right")
    for k, value in score.pass_at.items():
        table.add_row(f"pass@{k}", f"{value:.4f}")
    for name, count in sorted(score.outcomes.items(), key=lambda pair: -pair[1]):
        style = "bold red" if name == "infrastructure" else ""
        table.add_row(name.replace("_", " "), str(count), style=style)
    console.print(table)
    if score.tasks_without_samples:
        console.print(
            f"{score.tasks_without_samples} tasks of the suite have no sample; they are left out.",
            style="yellow",
        )
    console.print(f"Limit of a sample: {report.manifest.limit()}.", markup=False)
    _show_failures(report, console)
    flaky = report.flaky()
    if flaky:
        console.print(f"{len(flaky)} verdicts may be others the next time:", style="yellow")
        for sample, verdict in flaky[:FLAKES_SHOWN]:
            words = f"  sample {sample.index} ({one_line(sample.task_id)}): {verdict.flaky}"
            console.print(words, markup=False)
    if score.excluded:
        console.print(
            f"NO VERDICT FOR {score.excluded} OF {score.samples} SAMPLES: the machine failed, not"
            " they. They are in no figure above; run again with --resume.",
            style="bold red",
        )
    if report.out is not None:
        console.print(f"Results: {report.out}\nManifest: {path_beside(report.out)}", markup=False)


def _show_failures(report: Report, console: Console) -> None:
    """Print what the first samples failed at: the assertion, then the lines that led to it."""
    pairs = zip(report.samples, report.verdicts, strict=True)
    failed = [(sample, verdict) for sample, verdict in pairs if not verdict.passed]
    for sample, verdict in failed[:FAILURES_SHOWN]:
        task = one_line(sample.task_id)
        console.print(f"\nsample {sample.index} ({task}): {verdict.failure_reason}", markup=False)
        for line in told_lines(verdict):
            console.print(f"  {line}", markup=False)
    if len(failed) > FAILURES_SHOWN:
        where = f"{report.out} has them" if report.out else "--out FILE keeps them"
        console.print(f"\nand {len(failed) - FAILURES_SHOWN} more; {where}", markup=False)


def told_lines(verdict: Verdict) -> list[str]:
    """The lines of a failure that matter: its message, and where the test and the candidate were.

    Made of what the candidate wrote: every line is put on one line of the terminal.
    """
    shown = [one_line(verdict.result)]
    lines = [line for line in verdict.stderr.splitlines() if line.strip(" ^~")]
    kept = [line for line in lines if not line.startswith("Traceback (most recent")]
    if len(kept) > LINES_SHOWN:
        half = LINES_SHOWN // 2
        kept = [*kept[:half], f"  ... {len(kept) - 2 * half} lines ...", *kept[-half:]]
    return [text[:LINE_SHOWN] for text in [*shown, *map(one_line, kept)] if text]
