"""Printed lines come at once, floods in blocks; neither is lost, doubled or out of order."""

import pytest

from sandbox import AsyncSandbox, Policy, Sandbox, Session
from sandbox.events import Stdout

FLOOD = "for n in range(5_000): print('line', n)\n"
FLOODED = "".join(f"line {n}\n" for n in range(5_000))
PRESSED = "import sys\nassert not sys.stdout.line_buffering, 'it was no flood'\n"
"""Fails unless the lines before it are being collected."""


def test_a_flood_is_collected_and_whole(session: Session) -> None:
    outcome = session.run(FLOOD + PRESSED)
    assert (outcome.status, outcome.stdout) == ("completed", FLOODED)


def test_after_a_flood_lines_are_written_one_by_one_again(session: Session) -> None:
    assert session.run(FLOOD + PRESSED).status == "completed"
    outcome = session.run("import os, sys\nprint('last')\nsys.stdout.line_buffering, os._exit(0)")
    assert outcome.status == "died"
    assert outcome.stdout == "last\n"


def test_what_a_flood_has_collected_is_written_while_the_snippet_waits(session: Session) -> None:
    wait = "import time\ntime.sleep(1)\nassert sys.stdout.line_buffering\nos._exit(0)"
    outcome = session.run(FLOOD + PRESSED + "import os\n" + wait)
    assert (outcome.status, outcome.stdout) == ("died", FLOODED)


@pytest.mark.parametrize(
    "start",
    [
        "subprocess.run(['/bin/sh', '-c', 'echo child'])",
        "os.system('echo child')",
        "os.waitpid(os.posix_spawn('/bin/sh', ['sh', '-c', 'echo child'], {}), 0)",
        "os.waitpid(os.fork() or (os.write(1, b'child\\n'), os._exit(0)), 0)",
        "os.waitpid(os.fork() or (print('child'), sys.stdout.flush(), os._exit(0)), 0)",
    ],
)
def test_a_child_process_neither_repeats_nor_overtakes_a_flood(
    session: Session, start: str
) -> None:
    outcome = session.run(f"import os, subprocess\n{FLOOD}{PRESSED}_ = {start}\nprint('end')")
    assert outcome.status == "completed"
    assert outcome.stdout == FLOODED + "child\nend\n"


def test_an_explicit_flush_in_a_flood_writes_all_of_it(session: Session) -> None:
    outcome = session.run(f"import os\n{FLOOD}{PRESSED}sys.stdout.flush()\nos._exit(0)")
    assert outcome.stdout == FLOODED


def test_text_and_bytes_keep_their_order_in_a_flood(session: Session) -> None:
    mixed = "sys.stdout.flush()\nsys.stdout.buffer.write(b'bytes\\n')\nprint('text')"
    assert session.run(FLOOD + PRESSED + mixed).stdout == FLOODED + "bytes\ntext\n"


def test_a_flood_from_another_thread_comes_whole(session: Session) -> None:
    outcome = session.run(
        "import threading\n"
        "def flood():\n"
        "    for n in range(5_000): print('line', n)\n"
        "thread = threading.Thread(target=flood)\nthread.start()\nthread.join()"
    )
    assert outcome.stdout == FLOODED


def test_a_snippet_that_closes_its_output_in_a_flood_ends_well(session: Session) -> None:
    outcome = session.run(FLOOD + PRESSED + "sys.stdout.close()")
    assert (outcome.status, outcome.stdout) == ("completed", FLOODED)


def test_a_stream_that_the_guest_set_up_for_itself_stays_so(session: Session) -> None:
    session.run("import sys\nsys.stdout.reconfigure(line_buffering=False)\nprint('a')")
    assert session.run("print('b')\nsys.stdout.line_buffering").text == "False"


async def test_events_of_a_slow_printer_come_line_by_line() -> None:
    code = "import time\nfor n in range(3):\n    print(n)\n    time.sleep(0.05)\n"
    async with AsyncSandbox(Policy(), pool_size=0) as box, box.session() as opened:
        texts = [event.text async for event in opened.stream(code) if isinstance(event, Stdout)]
    assert texts == ["0\n", "1\n", "2\n"]


def test_the_timer_of_a_flood_is_no_alarm_of_the_guests(box: Sandbox) -> None:
    outcome = box.run(
        "import signal\n"
        + FLOOD
        + PRESSED
        + "signal.getitimer(signal.ITIMER_REAL), signal.getsignal(signal.SIGALRM).name"
    )
    assert outcome.text == "((0.0, 0.0), 'SIG_DFL')"


@pytest.mark.parametrize("close", ["sys.stdout.close()", "with sys.stdout: print('inside')"])
def test_a_stream_that_was_closed_is_open_for_the_next_snippet(
    session: Session, close: str
) -> None:
    session.run(f"import sys\n{close}\nsys.stderr.close()")
    outcome = session.run("print('out'); print('err', file=sys.stderr)")
    assert (outcome.status, outcome.stdout, outcome.stderr) == ("completed", "out\n", "err\n")
    session.run("class Odd:\n    closed = property(lambda self: 1 / 0)\n    write = print")
    session.run("sys.stdout = sys.__stdout__ = Odd()")
    assert session.run("1").text == "1"
