"""The conversations that the page is tried with, and a model that can be held back."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator

from scripted import CALLED, STOPPED, ScriptedModel, call, say, spent, think

from runner.models.port import ModelEvent, ModelRequest
from runner.transcript import Question

POWER = "77269364466549865653073473388030061522211723"
ASK, SLOW, PLOT, FILE, MADE, HELD = (
    "What is 123 to the 21st power?",
    "Wait for a long time.",
    "Draw a line.",
    "How many lines has data.csv?",
    "Save the squares.",
    "Count slowly.",
)
SET_1, SET_2, SHOW = "Set x to 1.", "Set x to 2.", "Show x."
HOSTILE = "Show me what it says."
TABLE = "Make a large table."
REFUSED = "Read the passwords."
LONG = "Print 2000 lines."
KEEPS_OPEN = "Keep a pipe open."
ATTACK = (
    "<img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script>"
    "<a href=\"javascript:document.title='owned'\">x</a>"
)
DRAWING = """\
import matplotlib.pyplot as plt
plt.plot([0, 1, 4, 9], marker='o')
plt.title('squares')
plt.show()"""
SHOWS_HTML = f"""\
class Evil:
    def _repr_html_(self):
        return {ATTACK!r} + '<p style="color: red">framed</p>'
    def __repr__(self):
        return {ATTACK!r}
print({ATTACK!r})
Evil()"""
LARGE = """\
import pandas as pd
frame = pd.DataFrame({'n': range(100_000)})
frame['square'] = frame.n ** 2
frame"""
SAYS = """\
The answer, from **Python**:

| power | digits |
|---|---|
| 21 | 44 |

1. first
2. second with `code`

```python
def double(x):  # twice
    return x * 2
```

See [the docs](https://docs.python.org/3/)."""

TALKS = {
    ASK: [
        [*think("I need an exact value, so I will run Python."), *call("123**21"),
         spent(341, 58, 31), CALLED],
        [*think("The tool returned the number."), *say("123 to the 21st power is ", f"{POWER}.\n\n",
         *SAYS.splitlines(keepends=True)), spent(452, 76, 29), STOPPED],
    ],
    SLOW: [
        [*think("Wait."), *call("import time\nprint('waiting', flush=True)\ntime.sleep(600)"),
         spent(10, 5, 1), CALLED],
        [*say("Done."), spent(12, 6, 0), STOPPED],
    ],
    PLOT: [
        [*think("Draw."), *call(DRAWING), spent(10, 5, 1), CALLED],
        [*say("Here it is."), spent(12, 6, 0), STOPPED],
    ],
    FILE: [
        [*call("print(len(open('data.csv').read().splitlines()), 'lines')"), spent(10, 5, 0),
         CALLED],
        [*say("Three lines."), spent(12, 6, 0), STOPPED],
    ],
    MADE: [
        [*call("with open('squares.csv', 'w') as file:\n"
               "    for n in range(5):\n        print(n, n * n, sep=',', file=file)"),
         spent(10, 5, 0), CALLED],
        [*say("Here: [squares.csv](sandbox:/mnt/data/squares.csv)."), spent(12, 6, 0), STOPPED],
    ],
    SET_1: [[*call("x = 1"), spent(10, 5, 0), CALLED], [*say("x is 1."), STOPPED]],
    SET_2: [[*call("x = 2"), spent(10, 5, 0), CALLED], [*say("x is 2."), STOPPED]],
    SHOW: [[*call("print('x =', x)"), spent(10, 5, 0), CALLED], [*say("Shown."), STOPPED]],
    HOSTILE: [
        [*think(ATTACK), *call(SHOWS_HTML), spent(10, 5, 1), CALLED],
        [*say(ATTACK, " [x](javascript:document.title='owned')"), spent(12, 6, 0), STOPPED],
    ],
    TABLE: [
        [*call(LARGE), spent(10, 5, 0), CALLED],
        [*say("100 000 rows."), spent(12, 6, 0), STOPPED],
    ],
    LONG: [
        [*call("for i in range(2000):\n    print('line', i, 'x' * 60)"), spent(10, 5, 0), CALLED],
        [*say("Printed."), spent(12, 6, 0), STOPPED],
    ],
    KEEPS_OPEN: [
        [*call("import os; ends = os.pipe()"), spent(10, 5, 0), CALLED],
        [*say("It is open."), spent(12, 6, 0), STOPPED],
    ],
    REFUSED: [
        [*call("import ctypes"), spent(10, 5, 0), CALLED],
        [*say("It was refused."), spent(12, 6, 0), STOPPED],
    ],
}  # fmt: skip


class PageModel:
    """Answers by the newest question. `HELD` says one word, and the rest when `release` is set."""

    def __init__(self) -> None:
        self.scripts = {question: ScriptedModel(*turns) for question, turns in TALKS.items()}
        self.release = asyncio.Event()

    async def stream(self, request: ModelRequest) -> AsyncGenerator[ModelEvent, None]:
        asked = [entry.text for entry in request.entries if isinstance(entry, Question)][-1]
        script = self.scripts.get(asked) or ScriptedModel(
            [*say("One, "), self.release, *say("two, ", "three."), spent(1, 3, 0), STOPPED]
        )
        async with contextlib.aclosing(script.stream(request)) as events:
            async for event in events:
                yield event

    async def close(self) -> None:
        """Nothing is held."""
