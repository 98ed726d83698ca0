"""The conversations that every client has."""

import asyncio

from scripted import CALLED, STOPPED, call, say, spent, think

POWER = "77269364466549865653073473388030061522211723"
TWO = "1169008215014432917465348578887506800769541157267"
ONE_CALL = "What is 123 to the 21st power?"
TWO_CALLS = "123 to the 23rd power, then divided by 5, in two runs?"
REPAIR = "Add one to x."
PLOT = "Draw a line."
FILES = "Double the numbers in data.csv."
MADE = "Double the numbers of data.csv into a file."
SLOW = "Wait for a long time."
SIDE_BY_SIDE = "Set y, then show it, in one go."
STATE_1, STATE_2 = "Remember 41.", "Add one to it."

TALKS = {
    ONE_CALL: [
        [*think("I need an exact", " value, so I will run Python."), *call("123**21"),
         spent(341, 58, 31), CALLED],
        [*think("The tool returned", " the number."),
         *say("123 to the 21st power is ", f"{POWER}."), spent(452, 76, 29), STOPPED],
    ],
    TWO_CALLS: [
        [*think("First power, then division: two runs."), *call("123**23"),
         spent(349, 60, 33), CALLED],
        [*think("Now divide that number by 5."), *call(f"{TWO} / 5"), spent(463, 71, 28), CALLED],
        [*think("Both results are known."),
         *say(f"Run 1: {TWO}. Run 2: 2.338016430028866e+47."), spent(592, 118, 40), STOPPED],
    ],
    REPAIR: [
        [*think("Try it."), *call("print(x + 1)"), spent(352, 49, 22), CALLED],
        [*think("x is missing; define it."), *call("x = 41\nprint(x + 1)"),
         spent(498, 74, 37), CALLED],
        [*think("Done."), *say("x + 1 is 42 once x is 41."), spent(583, 52, 12), STOPPED],
    ],
    SIDE_BY_SIDE: [
        [*think("Two calls in one turn."), *call("y = 6", call_id="call_a"),
         *call("y * 7", index=1, call_id="call_b"), spent(10, 9, 2), CALLED],
        [*say("It is 42."), spent(12, 6, 0), STOPPED],
    ],
    PLOT: [
        [*think("Draw."), *call(
            "from pathlib import Path\n"
            "import base64\n"
            "PNG = base64.b64decode('iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAQAAAC1HAwCAAAAC0lEQVR42mNk"
            "YAAAAAYAAjCB0C8AAAAASUVORK5CYII=')\n"
            "class Picture:\n"
            "    def _repr_png_(self):\n"
            "        return PNG\n"
            "    def __repr__(self):\n"
            "        return 'a picture'\n"
            "Path('plot.png').write_bytes(PNG)\n"
            "Picture()"), spent(10, 5, 1), CALLED],
        [*say("Here it is: [plot.png](sandbox:/mnt/data/plot.png)."), spent(12, 6, 0), STOPPED],
    ],
    FILES: [
        [*think("Read it."), *call("print(sum(map(int, open('data.csv'))) * 2)"),
         spent(10, 5, 1), CALLED],
        [*say("It is 12."), spent(12, 6, 0), STOPPED],
    ],
    MADE: [
        [*think("Write it."), *call(
            "doubled = [int(line) * 2 for line in open('data.csv')]\n"
            "print(*doubled, sep='\\n', file=open('doubled.csv', 'w'))"),
         spent(10, 5, 1), CALLED],
        [*say("Here: [doubled.csv](sandbox:/mnt/data/doubled.csv)."), spent(12, 6, 0), STOPPED],
    ],
    SLOW: [
        [*think("Wait."), *call("import time\ntime.sleep(600)"), spent(10, 5, 1), CALLED],
        [*say("Done."), spent(12, 6, 0), STOPPED],
    ],
    STATE_1: [
        [*think("Keep it."), *call("x = 41"), spent(10, 5, 1), CALLED],
        [*say("I keep 41."), spent(12, 6, 0), STOPPED],
    ],
    STATE_2: [
        [*think("Use it."), *call("x + 1"), spent(10, 5, 1), CALLED],
        [*say("It is 42."), spent(12, 6, 0), STOPPED],
    ],
}  # fmt: skip


def on_loop(server, coroutine):
    """The result of `coroutine` in the server's own loop."""
    return asyncio.run_coroutine_threadsafe(coroutine, server.loop).result(30)
