"""A report as text for a terminal, and as one JSON object."""

from rich.console import Console
from rich.table import Table

from runner.evals.run import Report
from runner.terminal import one_line

FLAKES_SHOWN = 10


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
        "speed": report.manifest.speed,
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
