"""Benchmark suites: verdicts that cannot be forged, scores that do not depend on the machine.

    from runner.evals import evaluate

    report = evaluate("humaneval", "samples.jsonl", data="HumanEval.jsonl.gz", k=(1, 10))
    report.score.pass_at[1], report.verdicts[0].outcome

Names are resolved on first use: a zygote imports this package for the judge in it.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from runner.evals.errors import (
        BadInput,
        EvalError,
        GenerationFailed,
        GradingFailed,
        OutputFailed,
    )
    from runner.evals.generation import Draw, generate
    from runner.evals.grading.score import Score, pass_at_k
    from runner.evals.library import evaluate, evaluate_async
    from runner.evals.rewards import Graded, Reward, reward
    from runner.evals.run import Report
    from runner.evals.samples.records import Verdict
    from runner.evals.settings import Settings
    from runner.evals.suites import SUITES

_HOMES = {
    "BadInput": "errors",
    "Draw": "generation",
    "EvalError": "errors",
    "GenerationFailed": "errors",
    "Graded": "rewards",
    "GradingFailed": "errors",
    "OutputFailed": "errors",
    "Report": "run",
    "Reward": "rewards",
    "SUITES": "suites",
    "Score": "grading.score",
    "Settings": "settings",
    "Verdict": "samples.records",
    "evaluate": "library",
    "evaluate_async": "library",
    "generate": "generation",
    "pass_at_k": "grading.score",
    "reward": "rewards",
}

__all__ = [
    "SUITES",
    "BadInput",
    "Draw",
    "EvalError",
    "GenerationFailed",
    "Graded",
    "GradingFailed",
    "OutputFailed",
    "Report",
    "Reward",
    "Score",
    "Settings",
    "Verdict",
    "evaluate",
    "evaluate_async",
    "generate",
    "pass_at_k",
    "reward",
]


def __getattr__(name: str) -> object:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
