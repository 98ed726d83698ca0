"""A session keeps variables, imports, classes and streams from one snippet to the next."""

import asyncio
import signal
import subprocess
import sys
from threading import Thread

import pytest

from sandbox import (
    AsyncSandbox,
    Finished,
    Limits,
    Policy,
    Sandbox,
    Session,
    SessionClosed,
    SessionLost,
    Stdout,
)
from sandbox.outcome import Completed, Died, Outcome, Raised
from tests.jail.corpus import Tier


def test_variables_imports_functions_and_files_persist(session: Session) -> None:
    session.run("import math\nx = 2\ndef double(n): return n * x\nopen('a.txt', 'w').write('a')")
    outcome = session.run("double(4), math.pi > 3, open('a.txt').read()")
    assert isinstance(outcome, Completed)
    assert outcome.text == "(8, True, 'a')"


def test_a_one_shot_run_sees_nothing_of_another(box: Sandbox) -> None:
    assert box.run("x = 1\nopen('a.txt', 'w').write('a')").status == "completed"
    outcome = box.run("import os\n'x' in globals(), os.listdir('.')")
    assert outcome.text == "(False, [])"


def test_a_hash_seed_gives_every_environment_the_same_hashes() -> None:
    code = "import subprocess, sys\nsay = 'print(hash(\"a\"))'\n"
    code += "exec(say)\nsubprocess.run([sys.executable, '-c', say])"
    said = set()
    for seed in (7, 7, 8):
        with Sandbox(Policy(hash_seed=seed), pool_size=0) as box:
            said.add(box.run(code).stdout)
    assert len(said) == 2
    assert all(len(set(text.split())) == 1 for text in said)


def test_two_sessions_share_neither_variables_nor_files(box: Sandbox) -> None:
    with box.session() as one, box.session() as other:
        one.run("x = 1\nopen('a.txt', 'w').write('a')\nopen('/tmp/b', 'w').write('b')")
        outcome = other.run(
            "import os\n'x' in globals(), os.listdir('.'), os.path.exists('/tmp/b')"
        )
        assert outcome.text == "(False, [], False)"
        assert one.run("x, open('/tmp/b').read() if False else 0").text == "(1, 0)"


def test_an_exception_keeps_what_was_done_before_it(session: Session) -> None:
    outcome = session.run("x = 5\n1 / 0\nx = 6")
    assert isinstance(outcome, Raised)
    assert (outcome.error.type, outcome.error.message) == ("ZeroDivisionError", "division by zero")
    assert outcome.state == "kept"
    assert session.run("x").text == "5"


def test_a_traceback_shows_the_lines_of_the_guest_and_nothing_of_the_engine(
    session: Session,
) -> None:
    session.run("def fail():\n    raise KeyError('no')")
    outcome = session.run("y = 1\nfail()")
    assert isinstance(outcome, Raised)
    assert "    fail()" in outcome.error.traceback
    assert "    raise KeyError('no')" in outcome.error.traceback
    assert "guest" not in outcome.error.traceback


def test_streams_come_back_apart_and_in_full(session: Session) -> None:
    outcome = session.run("import sys\nprint('out')\nprint('err', file=sys.stderr)\n'echo'")
    assert (outcome.stdout, outcome.stderr, outcome.text) == ("out\n", "err\n", "'echo'")
    assert session.run("2").stdout == ""


def test_what_c_code_and_child_processes_write_is_captured(session: Session) -> None:
    outcome = session.run(
        "import os\nos.write(1, b'raw ')\npid = os.fork()\n"
        "if pid == 0:\n    os.write(1, b'child ')\n    os._exit(0)\n"
        "os.waitpid(pid, 0)\nprint('python')"
    )
    assert outcome.stdout == "raw child python\n"


def test_input_reads_what_the_caller_gave_and_then_the_end(session: Session) -> None:
    outcome = session.run("input(), input()", stdin="one\ntwo\n")
    assert outcome.text == "('one', 'two')"
    ended = session.run("input()")
    assert isinstance(ended, Raised)
    assert ended.error.type == "EOFError"


def test_top_level_await_runs_and_is_measured(session: Session) -> None:
    assert (
        session.run(
            "import asyncio\nawait asyncio.sleep(0.01)\nx = await asyncio.sleep(0, 7)\nx"
        ).text
        == "7"
    )


def test_an_exit_without_a_code_completes_and_one_with_a_code_raises(session: Session) -> None:
    assert session.run("x = 1\nexit()").status == "completed"
    outcome = session.run("import sys\nsys.exit(3)")
    assert isinstance(outcome, Raised)
    assert (outcome.error.type, outcome.error.message) == ("SystemExit", "3")
    assert session.run("x").text == "1"


@pytest.mark.parametrize(
    ("argument", "code", "text"),
    [
        ("3", 3, None),
        ("'3'", 1, "3"),
        ("1", 1, None),
        ("'1'", 1, "1"),
        ("True", 1, None),
        ("257", 1, None),
        ("-1", 255, None),
        ("2**70", 255, None),
        ("''", 1, ""),
        ("(1, 2)", 1, "(1, 2)"),
        ("__import__('signal').SIGTERM", 15, None),
    ],
)
def test_an_exit_has_the_code_and_the_text_of_a_script(
    session: Session, argument: str, code: int, text: str | None
) -> None:
    outcome = session.run(f"import sys; sys.exit({argument})")
    assert isinstance(outcome, Raised)
    assert (outcome.error.exit_code, outcome.error.exit_text) == (code, text)
    script = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.exit({argument})"], capture_output=True, text=True
    )
    assert script.returncode == code
    if argument != "2**70":  # CPython 3.12 adds that no C long holds it.
        assert script.stderr == ("" if text is None else f"{text}\n")


def test_what_is_no_exit_has_no_code(session: Session) -> None:
    outcome = session.run("raise ValueError('3')")
    assert isinstance(outcome, Raised)
    assert (outcome.error.exit_code, outcome.error.exit_text) == (None, None)


def test_a_forked_child_that_runs_off_the_end_does_not_answer_twice(session: Session) -> None:
    outcome = session.run("import os\npid = os.fork()\nif pid: os.waitpid(pid, 0)\n'done'")
    assert (outcome.status, outcome.text) == ("completed", "'done'")
    assert session.run("1").text == "1"


def test_names_tell_what_a_snippet_changed(session: Session) -> None:
    session.run("a, b = 1, [1]")
    outcome = session.run("a = 2\ndel b\nc = 'new'")
    changes = {name.name: (name.change, name.type) for name in outcome.names}
    assert changes == {"a": ("changed", "int"), "b": ("removed", "list"), "c": ("added", "str")}


def test_usage_is_measured(session: Session) -> None:
    outcome = session.run("kept = b'x' * (20 << 20)\nprint('12345')")
    assert outcome.usage.wall_s > 0
    assert outcome.usage.peak_memory_bytes >= 20 << 20
    assert outcome.usage.written_bytes == 6
    assert outcome.usage.processes >= 1


def test_a_closed_session_says_so_and_can_be_closed_again(box: Sandbox) -> None:
    session = box.session()
    session.close()
    session.close()
    for use in (lambda: session.run("1"), session.files, lambda: session.get("a")):
        with pytest.raises(SessionClosed, match="session is closed"):
            use()


def test_the_end_of_the_sandbox_ends_its_sessions(tier: Tier) -> None:
    box = Sandbox(Policy(tier=tier), pool_size=0)
    session = box.session()
    assert session.run("1").text == "1"
    box.close()
    with pytest.raises((SessionLost, SessionClosed)):
        session.run("1")
    with pytest.raises(SessionClosed, match="sandbox is closed"):
        box.run("1")
    session.close()


async def test_snippets_of_one_session_wait_their_turn(tier: Tier) -> None:
    async with AsyncSandbox(Policy(tier=tier), pool_size=0) as box, box.session() as session:
        await session.run("import time\nlog = []")
        calls = (
            session.run(f"log.append({n}); time.sleep(0.01); log.append({n})") for n in range(4)
        )
        await asyncio.gather(*calls)
        assert (await session.run("log")).text == "[0, 0, 1, 1, 2, 2, 3, 3]"


async def test_a_cancelled_call_interrupts_the_snippet_and_keeps_the_session(tier: Tier) -> None:
    async with AsyncSandbox(Policy(tier=tier), pool_size=0) as box, box.session() as session:
        await session.run("import time\nx = 0")
        began = asyncio.Event()
        task = asyncio.ensure_future(
            _run_and_tell(
                session.stream(
                    "try:\n    print('on', flush=True)\n    time.sleep(60)\nfinally: x = 1"
                ),
                began,
            )
        )
        async with asyncio.timeout(10):
            await began.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert (await session.run("x")).text == "1"


async def _run_and_tell(events: object, began: asyncio.Event) -> None:
    async for event in events:  # type: ignore[attr-defined]
        if type(event).__name__ == "Stdout":
            began.set()


async def test_a_session_that_is_closed_under_a_snippet_ends_it_and_says_so(tier: Tier) -> None:
    async with AsyncSandbox(Policy(tier=tier), pool_size=0) as box, box.session() as session:
        started = asyncio.Event()

        async def watch() -> None:
            async for _event in session.stream("print(1, flush=True)\nimport time\ntime.sleep(60)"):
                started.set()

        watching = asyncio.create_task(watch())
        await started.wait()
        waiting = asyncio.create_task(session.run("1"))
        await asyncio.sleep(0)
        await session.close()
        for task in (watching, waiting):
            with pytest.raises(SessionClosed):
                await task
        with pytest.raises(SessionClosed):
            await session.run("1")


async def test_a_call_that_is_cancelled_twice_leaves_the_session_usable(tier: Tier) -> None:
    async with AsyncSandbox(Policy(tier=tier), pool_size=0) as box, box.session() as session:
        await session.run("import time\nx = 1")
        task = asyncio.ensure_future(
            session.run("try: time.sleep(60)\nexcept BaseException: time.sleep(60)")
        )
        await asyncio.sleep(0.05)
        task.cancel()
        await asyncio.sleep(0)
        task.cancel()
        async with asyncio.timeout(10):
            with pytest.raises(asyncio.CancelledError):
                await task
            assert (await session.run("x")).text == "1"


def test_a_death_in_a_one_shot_run_is_an_outcome_and_the_next_run_is_fine(box: Sandbox) -> None:
    outcome = box.run("import os\nos._exit(3)")
    assert isinstance(outcome, Died)
    assert (outcome.exit_code, outcome.state) == (3, "lost")
    assert box.run("1").text == "1"


def test_a_session_with_a_sub_interpreter_runs_on_in_place_and_says_so(session: Session) -> None:
    session.run(
        "try: import _interpreters as interpreters\n"
        "except ImportError: import _xxsubinterpreters as interpreters\n"
        "number = interpreters.create()\nx = 1"
    )
    outcome = session.run("x += 1\nx")
    assert (outcome.text, outcome.survives) == ("2", False)
    assert outcome.survives_reason == "the session has live sub-interpreters"
    session.run("interpreters.destroy(number)")
    assert session.run("x").survives is True


# ---- interrupts ---------------------------------------------------------------------------------


def interrupted(session: Session, code: str, *, grace_s: float) -> Outcome:
    """The outcome of `code`, which says something once it may be interrupted."""
    outcome = None
    for event in session.stream(code, limits=Limits(grace_s=grace_s)):
        if isinstance(event, Stdout):
            session.interrupt()
        elif isinstance(event, Finished):
            outcome = event.outcome
    assert outcome is not None
    return outcome


async def test_a_snippet_is_interrupted_also_where_its_host_has_blocked_the_signal() -> None:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        async with AsyncSandbox(pool_size=0) as box, box.session() as session:
            await session.run("x = 1")
            outcome = await session.run("while True: pass", limits=Limits(wall_s=0.3))
            assert (outcome.status, outcome.state) == ("limit_exceeded", "kept")
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def test_an_interrupted_snippet_has_an_outcome_and_leaves_its_variables(session: Session) -> None:
    code = "x = 'kept'\nprint('up', flush=True)\nwhile True: pass"
    outcome = interrupted(session, code, grace_s=20)
    assert isinstance(outcome, Raised)
    assert (outcome.error.type, outcome.state) == ("KeyboardInterrupt", "kept")
    assert outcome.stdout == "up\n"
    assert session.run("x").text == "'kept'"


def test_a_snippet_that_does_not_heed_an_interrupt_is_ended_and_undone(session: Session) -> None:
    session.run("import signal; x = 1")
    ignore = "signal.signal(signal.SIGINT, signal.SIG_IGN)"
    code = f"x = 2\n{ignore}\nprint('up', flush=True)\nwhile True: pass"
    outcome = interrupted(session, code, grace_s=0.1)
    assert isinstance(outcome, Died)
    assert (outcome.signal, outcome.state) == ("SIGKILL", "rolled_back")
    assert session.run("x").text == "1"


def test_an_interrupt_while_nothing_runs_changes_nothing(session: Session) -> None:
    session.interrupt()
    assert session.run("6 * 7").text == "42"


def test_another_thread_may_interrupt(session: Session) -> None:
    outcomes: list[Outcome] = []
    runner = Thread(target=lambda: outcomes.append(session.run("while True: pass")))
    runner.start()
    while runner.is_alive():
        session.interrupt()
        runner.join(0.01)
    [outcome] = outcomes
    assert isinstance(outcome, Raised | Died)
    assert session.run("6 * 7").text == "42"
