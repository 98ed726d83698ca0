"""What the end of a program does for logging, whose shut-down is left out where it has no use."""

from collections.abc import Iterator

import pytest

from sandbox import Policy, Sandbox
from sandbox.outcome import Raised

HELD = """
import atexit, logging, logging.handlers, sys
kept = logging.handlers.MemoryHandler(100, target=logging.StreamHandler(sys.stdout))
log = logging.getLogger('held')
log.addHandler(kept)
atexit.register(lambda: (log.warning('at exit'), print('exit')))
log.warning('first')
print('end')
"""


@pytest.fixture(params=("namespaces", "landlock"))
def box(request: pytest.FixtureRequest) -> Iterator[Sandbox]:
    with Sandbox(Policy(tier=request.param), pool_size=0) as made:
        yield made


def test_handlers_are_flushed_after_the_exit_functions(box: Sandbox) -> None:
    assert box.run(HELD).stdout == "end\nexit\nfirst\nat exit\n"


def test_a_thread_is_waited_for_before_the_exit_functions(box: Sandbox) -> None:
    code = (
        "import atexit, threading, time\natexit.register(print, 'exit')\n"
        "threading.Thread(target=lambda: (time.sleep(0.2), print('thread'))).start()\nprint('end')"
    )
    assert box.run(code).stdout == "end\nthread\nexit\n"


def test_a_program_with_nothing_to_end_says_what_it_said(box: Sandbox) -> None:
    outcome = box.run("print('all')")
    assert (outcome.stdout, outcome.stderr) == ("all\n", "")


HOOK = "import sys\nsys.excepthook = lambda kind, error, trace: {}\ndef f(): return 1 / 0\nf()"


def test_a_program_s_own_hook_prints_the_error_that_ends_it(box: Sandbox) -> None:
    say = "print(kind.__name__, error, trace.tb_frame.f_code.co_name, trace.tb_lineno)"
    outcome = box.run(HOOK.format(say))
    assert isinstance(outcome, Raised)
    assert outcome.stdout == "ZeroDivisionError division by zero <module> 4\n"
    assert outcome.error.traceback.endswith("ZeroDivisionError: division by zero\n")


def test_a_hook_that_raises_is_told_beside_the_error(box: Sandbox) -> None:
    outcome = box.run(HOOK.format("[][0]"))
    assert isinstance(outcome, Raised)
    assert outcome.error.type == "ZeroDivisionError"
    assert outcome.stderr.startswith("Error in sys.excepthook:\nTraceback (most recent call last):")
    assert outcome.stderr.endswith("IndexError: list index out of range\n")


def test_an_exit_calls_no_hook_and_a_session_has_none(box: Sandbox) -> None:
    assert box.run("import sys\nsys.excepthook = print\nsys.exit(3)").stdout == ""
    with box.session() as session:
        assert session.run("import sys\nsys.excepthook = print\n1 / 0").stdout == ""


def test_a_name_that_was_meant_is_still_known_at_the_end(box: Sandbox) -> None:
    outcome = box.run("total = 1\nprint(totl)")
    assert isinstance(outcome, Raised)
    assert "Did you mean: 'total'?" in outcome.error.traceback


def test_a_program_without_a_file_has_a_name_in_its_usage(box: Sandbox) -> None:
    outcome = box.run("import argparse\nargparse.ArgumentParser().parse_args(['--no'])")
    assert outcome.stderr == ("usage: snippet [-h]\nsnippet: error: unrecognized arguments: --no\n")
