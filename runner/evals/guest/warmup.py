"""The judge and the candidate's part, after some practice: what a zygote preloads.

The interpreter adapts a function by writing into it once it has run a few times, and fills
caches. What is done here is done once, before the fork; each candidate's session would do it
again, and would copy every page that it writes.
"""

import linecache
import os
from typing import Any

from runner.evals.guest import replay
from runner.evals.guest.candidate import FILE, CandidateProcess, Pipes

PRACTICES = 20
"""CPython 3.11 adapts a function to what it does from about its tenth call on."""
CANDIDATE = '''
def f(*values):
    """Give back what came."""
    if not values:
        raise ValueError("nothing came")
    return [*values, {"a": (1, 2.5, None, True)}, {"b"}, len, 1 << 70, object]
'''
ASKED: dict[str, Any] = {
    "names": ["f"],
    "calls": [
        ["f", [1, "a", 2.5, {"tuple": [1]}], {"dict": []}, True],
        ["f", [[1, [2]], {"dict": [["a", 1]]}], {"dict": []}, False],
        ["f", [], {"dict": []}, True],
    ],
}
CHECK: dict[str, Any] = {
    "kind": "calls",
    "helpers": "",
    "test": "assert f(1)\nassert f([1])",
    "entry": "",
    "call": False,
}


def practise() -> None:
    """Do what a candidate's session does, and drop its answers."""
    answers = os.open("/dev/null", os.O_WRONLY)
    for _ in range(PRACTICES):
        for source in (CANDIDATE, "f("):
            CandidateProcess(source, "names", Pipes(-1, answers)).answer_all(ASKED, answers)
        replay.plan(CHECK)
    os.close(answers)
    linecache.cache.pop(FILE, None)


practise()
