"""Benchmark suites, one a module: what their files hold and how a sample of theirs is judged."""

from runner.evals.suites.base import Suite
from runner.evals.suites.bigcodebench import BigCodeBench
from runner.evals.suites.classeval import ClassEval
from runner.evals.suites.cruxeval import CruxEval
from runner.evals.suites.custom import Custom
from runner.evals.suites.dabench import DaBench
from runner.evals.suites.ds1000 import Ds1000
from runner.evals.suites.humaneval import HumanEval
from runner.evals.suites.humaneval_plus import HumanEvalPlus
from runner.evals.suites.mbpp import Mbpp
from runner.evals.suites.mbpp_plus import MbppPlus
from runner.evals.suites.stdio import Stdio

SUITES: dict[str, type[Suite]] = {
    suite.name: suite
    for suite in (
        HumanEval,
        HumanEvalPlus,
        Mbpp,
        MbppPlus,
        CruxEval,
        ClassEval,
        BigCodeBench,
        Ds1000,
        DaBench,
        Stdio,
        Custom,
    )
}
