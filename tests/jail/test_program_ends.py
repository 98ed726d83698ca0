"""What the end of a program does for logging, whose shut-down is left out where it has no use."""

from collections.abc import Iterator

import pytest

from sandbox import Policy, Sandbox

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
