"""Await in snippets: one loop for the session, interrupts that end one snippet, copies."""

import os
import warnings
from collections.abc import Iterator

import pytest

from sandbox.guest.session import eventloop
from tests.unit.snippets import Snippets, snippets


@pytest.fixture
def session() -> Iterator[Snippets]:
    with snippets() as made:
        yield made


def test_await_works_at_top_level_and_in_the_last_expression(session: Snippets) -> None:
    assert session.text("import asyncio\nawait asyncio.sleep(0)\nawait asyncio.sleep(0, 'v')") == (
        "'v'"
    )


def test_all_of_a_snippet_that_awaits_runs_in_the_loop(session: Snippets) -> None:
    code = "import asyncio\ntask = asyncio.create_task(asyncio.sleep(0, 'made'))\nawait task"
    assert session.text(code) == "'made'"
    code = "await task\nasyncio.get_running_loop() is task.get_loop()"
    assert session.text(code) == "True"


def test_asyncio_is_imported_only_when_something_awaits() -> None:
    names = {name for name in vars(eventloop) if not name.startswith("_")}
    assert "asyncio" not in names
    assert "selectors" not in names


def test_tasks_of_one_snippet_go_on_in_the_next_that_awaits(session: Snippets) -> None:
    session.run(
        "import asyncio\nsteps = []\n"
        "async def work():\n"
        "    for n in range(3):\n"
        "        steps.append(n)\n"
        "        await asyncio.sleep(0.001)\n"
        "    return 'done'\n"
        "async def start(): return asyncio.create_task(work())\n"
        "task = await start()"
    )
    assert session.text("task.done()") == "False"
    assert session.text("await task") == "'done'"
    assert session.text("steps") == "[0, 1, 2]"


def test_a_plain_snippet_may_make_tasks_that_start_at_its_end(session: Snippets) -> None:
    session.run(
        "import asyncio\nsteps = []\n"
        "async def work(n):\n    steps.append(n)\n    await asyncio.sleep(0)\n    return n\n"
        "one = asyncio.create_task(work(1))\ntwo = asyncio.ensure_future(work(2))\n"
        "both = asyncio.gather(work(3), work(4))"
    )
    assert session.text("steps, one.done()") == "([1, 2, 3, 4], True)"
    assert session.text("await both + [await two]") == "[3, 4, 2]"


def test_what_goes_on_for_ever_does_not_keep_the_snippet(session: Snippets) -> None:
    session.run(
        "import asyncio\nasync def spin():\n    while True:\n        await asyncio.sleep(0)\n"
        "task = asyncio.create_task(spin())"
    )
    assert session.text("task.done()") == "False"
    session.run("task.cancel()")


def test_the_loop_of_the_session_is_the_current_one(session: Snippets) -> None:
    session.run("import asyncio\nasync def main(): return 7\nasyncio.run(main())")
    assert session.text("asyncio.get_event_loop().run_until_complete(main())") == "7"
    session.run("own = asyncio.get_event_loop()")
    assert session.text("await asyncio.sleep(0)\nasyncio.get_running_loop() is own") == "True"


def test_a_nested_run_is_told_to_await(session: Snippets) -> None:
    ending = session.run(
        "import asyncio\nasync def main(): pass\nawait main()\ntodo = main()\nasyncio.run(todo)"
    )
    assert "write `await main()`" in ending.error_message
    session.run("todo.close()")


def test_a_forgotten_await_is_told_by_its_own_snippet(session: Snippets) -> None:
    session.run("async def main(): pass")
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        session.run("1\nmain()")
    # Whatever other tests left to the collector may be told of meanwhile.
    told = [one for one in told if one.category is RuntimeWarning]
    assert [(one.filename, one.lineno) for one in told] == [("<snippet 2>", 2)]
    assert "'main' was never awaited" in str(told[0].message)


def test_a_plain_snippet_may_use_asyncio_run(session: Snippets) -> None:
    session.run("import asyncio\nawait asyncio.sleep(0)")
    assert session.text("asyncio.run(asyncio.sleep(0, 'own loop'))") == "'own loop'"
    assert session.text("await asyncio.sleep(0, 'session loop')") == "'session loop'"


def test_context_variables_pass_through_await(session: Snippets) -> None:
    session.run("import asyncio, contextvars\nv = contextvars.ContextVar('v')\n_ = v.set(1)")
    session.run("await asyncio.sleep(0)\n_ = v.set(v.get() + 1)")
    assert session.text("v.get()") == "2"


def test_an_error_below_await_shows_frames_of_the_snippet_only(session: Snippets) -> None:
    text = session.traceback(
        "import asyncio\nasync def f():\n    await asyncio.sleep(0)\n    1/0\nawait f()"
    )
    assert text == (
        "Traceback (most recent call last):\n"
        '  File "<snippet 1>", line 5, in <module>\n'
        "    await f()\n"
        '  File "<snippet 1>", line 4, in f\n'
        "    1/0\n"
        "    ~^~\n"
        "ZeroDivisionError: division by zero\n"
    )


INTERRUPT = (
    "import asyncio, signal\n"
    "asyncio.get_running_loop().call_soon(signal.raise_signal, signal.SIGINT)\n"
)


def test_an_interrupt_of_a_waiting_coroutine_shows_where_it_waited(session: Snippets) -> None:
    ending = session.run(
        "async def wait():\n    await asyncio.sleep(60)\n" + INTERRUPT + "await wait()"
    )
    assert (ending.ended, ending.error_type) == ("raised", "KeyboardInterrupt")
    lines = ending.error_traceback.splitlines()
    assert lines[1:5] == [
        '  File "<snippet 1>", line 5, in <module>',
        "    await wait()",
        '  File "<snippet 1>", line 2, in wait',
        "    await asyncio.sleep(60)",
    ]
    assert lines[-1] == "KeyboardInterrupt"
    assert session.text("await asyncio.sleep(0, 'on')") == "'on'"


def test_an_interrupted_coroutine_gets_to_clean_up(session: Snippets) -> None:
    session.run(
        INTERRUPT + "clean = []\ntry:\n    await asyncio.sleep(60)\nfinally:\n    clean.append(1)"
    )
    assert session.text("clean") == "[1]"


def test_a_coroutine_that_refuses_to_end_is_left_behind(session: Snippets) -> None:
    ending = session.run(
        INTERRUPT + "for _ in range(2):\n"
        "    try:\n        await asyncio.sleep(60)\n"
        "    except asyncio.CancelledError: pass"
    )
    assert ending.error_traceback == "KeyboardInterrupt\n"
    assert session.text("await asyncio.sleep(0, 'on')") == "'on'"


def test_an_interrupt_of_a_busy_coroutine_ends_the_snippet_only(session: Snippets) -> None:
    code = "import asyncio, signal\nawait asyncio.sleep(0)\nsignal.raise_signal(signal.SIGINT)"
    assert session.run(code).error_type == "KeyboardInterrupt"
    assert session.text("await asyncio.sleep(0, 'on')") == "'on'"


def test_a_snippet_that_stops_the_loop_is_told(session: Snippets) -> None:
    code = "import asyncio\nasyncio.get_running_loop().stop()\nawait asyncio.sleep(60)"
    assert session.run(code).error_message == (
        "the event loop was stopped before the snippet was done"
    )
    session.run("asyncio.get_running_loop().close()\nawait asyncio.sleep(0)")
    assert session.text("await asyncio.sleep(0, 'on')") == "'on'"


def test_a_copy_of_the_session_has_a_selector_and_a_wake_up_of_its_own(
    session: Snippets, monkeypatch: pytest.MonkeyPatch
) -> None:
    descriptors = (
        "import asyncio, os\nawait asyncio.sleep(0)\n"
        "loop = asyncio.get_running_loop()\n"
        "numbers = [loop._selector.fileno(), loop._ssock.fileno(), loop._csock.fileno()]\n"
        "inodes = [os.fstat(n).st_ino for n in numbers[1:]]"
    )
    session.run(descriptors + "\nold = loop, inodes\nawait asyncio.sleep(0)")
    real = os.getpid()
    monkeypatch.setattr(os, "getpid", lambda: real + 1)  # The copy's pid differs.
    session.run(descriptors)
    assert session.text("loop is old[0], set(inodes) & set(old[1])") == "(True, set())"
    woken = "f = loop.create_future()\nloop.call_soon_threadsafe(f.set_result, 'woken')\nawait f"
    assert session.text(woken) == "'woken'"
