"""`python -m benchmarks.embedded [--kind KIND] [--draw N] [--save a.jsonl]`: its right answers.

Asks the embedded model the questions of `benchmarks/questions.py`, one conversation each, through
the loop and the jail that `cellblock chat` uses, and counts the answers that state the right value.
"""

import argparse
import asyncio
import json
import random
import re
import sys
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import aclosing
from pathlib import Path

from benchmarks.questions import QUESTIONS, TABLES, Asked
from runner.commands.talking.laid_files import words_for
from runner.errors import UpstreamError
from runner.events import CallRunning, Ended
from runner.loop import Budget, Loop
from runner.models.embedded import PROFILE, embedded
from runner.models.port import Model, ModelRequest
from runner.tools.code_interpreter import CodeInterpreter
from runner.tools.one_session import OneSession
from runner.transcript import Entry, Instruction, Question
from sandbox import AsyncSandbox, Policy

WALL_S = 180.0
PRELOAD = ("pandas",)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--kind", choices=sorted({one.kind for one in QUESTIONS}))
    parser.add_argument(
        "--draw", type=int, metavar="N", help="N questions, the same ones each time"
    )
    parser.add_argument("--wall-s", type=float, default=WALL_S, help="the most one may take")
    parser.add_argument("--save", type=Path, metavar="FILE", help="answers, one JSON object a line")
    options = parser.parse_args(arguments)
    chosen = [one for one in QUESTIONS if options.kind in (None, one.kind)]
    if options.draw is not None:
        # Of all kinds, so that a part of the questions says something of the whole.
        random.Random(7).shuffle(chosen)
        chosen = chosen[: options.draw]
    return asyncio.run(_measure(chosen, options.save, options.wall_s))


async def _measure(chosen: Sequence[Asked], save: Path | None, wall_s: float) -> int:
    model = embedded()
    right, asked = Counter[str](), Counter[str]()
    if save is not None:
        save.write_text("")
    try:
        async with AsyncSandbox(Policy(preload=PRELOAD), pool_size=1) as box:
            for one in chosen:
                began = time.perf_counter()
                answer, codes = await ask(box, model, one, wall_s)
                is_right = states(answer, one)
                asked[one.kind] += 1
                right[one.kind] += is_right
                record = {
                    "kind": one.kind, "question": one.question, "expected": one.expected,
                    "right": is_right, "answer": answer, "codes": codes,
                    "seconds": round(time.perf_counter() - began, 1),
                }  # fmt: skip
                if save is not None:
                    with save.open("a") as file:
                        file.write(f"{json.dumps(record, ensure_ascii=False)}\n")
                words = one.question[:70]
                print("right" if is_right else "WRONG", f"{record['seconds']:6} s", words)
                sys.stdout.flush()
    finally:
        await model.close()
    for kind in asked:
        print(f"{kind:<10} {right[kind]:>3} of {asked[kind]}")
    print(f"{'all':<10} {right.total():>3} of {asked.total()}")
    return 0


async def ask(box: AsyncSandbox, model: Model, one: Asked, wall_s: float) -> tuple[str, list[str]]:
    """Have one question answered; the answer, empty if there was none, and the code that ran."""
    source = OneSession(box)
    question: tuple[Entry, ...] = (Question(text=one.question),)
    if one.table:
        data = TABLES[one.table].encode()
        await source.put(one.table, data)
        question = (Instruction(text=words_for({one.table: data})), *question)
    tool = CodeInterpreter(source, shown_chars=PROFILE.shown(8000), retry_words=PROFILE.retry_words)
    loop = Loop(
        model,
        ModelRequest(entries=question, model="", thinking=True),
        [tool],
        budget=Budget(wall_s=wall_s),
        profile=PROFILE,
    )
    codes: list[str] = []
    answer = ""
    try:
        async with aclosing(loop.run()) as events:
            async for event in events:
                if isinstance(event, CallRunning):
                    codes.append(event.call.arguments)
                elif isinstance(event, Ended) and event.ending == "answered":
                    answer = event.turns[-1].text
    except UpstreamError as error:
        codes.append(str(error))
    finally:
        await source.close()
    return answer, codes


def states(answer: str, one: Asked) -> bool:
    """Whether `answer` has a right value; what it only repeats of the question does not count."""
    for quoted in re.findall(r"\[.*?\]|'[^']*'|\"[^\"]*\"|`[^`]*`", answer):
        if quoted[1:-1] in one.question:
            answer = answer.replace(quoted, " ")
    answer = re.sub(r"(?<=\d)[,_\s](?=\d{3}(?!\d))", "", answer)
    return any(_has(answer, value) for value in one.expected)


def _has(answer: str, value: str) -> bool:
    if not value.isascii():
        return value in answer
    whole = rf"(?<![A-Za-z0-9.-]){re.escape(value)}(?:\.0+)?(?![A-Za-z0-9]|\.\d)"
    return re.search(whole, answer, re.IGNORECASE) is not None


if __name__ == "__main__":
    sys.exit(main())
