"""Judging answers that a candidate gave beforehand, in a jail of its own that has no judge in it.

`plan` finds out what a test will ask: it runs the test on answers that agree with everything.
`verdicts` then runs the test again, by the very judge that asks living candidates, on what the
candidate answered in that order. A test that asks for anything else gets no verdict here: then a
judge has to ask the candidate itself. So a wrong plan costs time and never a verdict.
"""

import ast
import json
import os
import random
import signal
import sys
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

from runner.evals.guest.candidate import CHANCE, Gone, write_all
from runner.evals.guest.compiled import compiled, names_of
from runner.evals.guest.judge import Judge, trust_no_path_of_the_guest

CALLS_CAP = 10_000
REHEARSALS = 32
PLAN_CAP = 1 << 20
TEXT_CAP = 1 << 22
ITEM_CPU_S = 0.5
MIB_CPU_S = 1.0
"""CPU seconds that one candidate's answers may take here, and for each MiB of them."""


class NotPlanned(BaseException):
    """The test asks for what the candidate was not asked beforehand."""


class NotSaid(BaseException):
    """The candidate was asked, and ended before it answered."""


# ---- what a test will ask -----------------------------------------------------------------------


class Agreeable:
    """A value that equals whatever it is compared with, so that a test goes on to its end."""

    def __init__(self, truth: bool) -> None:
        self._truth = truth

    def __bool__(self) -> bool:
        return self._truth

    def __hash__(self) -> int:
        return 0

    def __float__(self) -> float:
        return 0.0

    def __iter__(self) -> Iterator[Any]:
        return iter(())

    def __getattr__(self, name: str) -> "Agreeable":
        if name.startswith("__"):
            raise AttributeError(name)
        return self


def _give_itself(agreeable: Agreeable, *_args: Any, **_kwargs: Any) -> Agreeable:
    return agreeable


for _name in ("eq", "ne", "lt", "le", "gt", "ge", "contains"):
    setattr(Agreeable, f"__{_name}__", lambda *_args: True)
for _name in ("len", "int", "index"):
    setattr(Agreeable, f"__{_name}__", lambda *_args: 0)
for _name in (
    "abs",
    "neg",
    "round",
    "getitem",
    "call",
    "add",
    "sub",
    "mul",
    "truediv",
    "floordiv",
    "mod",
    "pow",
    "radd",
    "rsub",
    "rmul",
    "rtruediv",
    "rfloordiv",
    "rmod",
    "rpow",
):
    setattr(Agreeable, f"__{_name}__", _give_itself)


class Rehearsal(Judge):
    """A judge without a candidate, which takes down what it would have asked."""

    def __init__(self, theirs: list[str], untrue: set[int]) -> None:
        self.asked: list[list[Any]] = []
        self._theirs = theirs
        self._untrue = untrue
        super().__init__(self)

    def send(self, message: Any) -> None:
        self._message = message
        if message[0] == "call":
            _what, target, *arguments = message
            self.asked.append([self._theirs[target["object"][0]], *arguments])
            if len(self.asked) > CALLS_CAP:
                raise NotPlanned("too many calls")
        elif message[0] not in ("load", "names", "global"):
            raise NotPlanned(message[0])

    def receive(self) -> Any:
        what, *arguments = self._message
        if what == "names":
            return ["value", self._theirs]
        if what == "global":
            return ["value", {"object": [self._theirs.index(arguments[0]), "function"]}]
        return ["value", None]

    def call(self, *args: Any, **kwargs: Any) -> Any:
        super().call(*args, **kwargs)
        return Agreeable(len(self.asked) - 1 not in self._untrue)


def plan(check: dict[str, Any]) -> dict[str, Any] | None:
    """What a candidate must be asked for `check`: names, and calls of them; None if unknown."""
    named = set(check.get("named", ()))
    names = [check["entry"]] if check["entry"] else sorted({*_strange_names(check), *named})
    untrue: set[int] = set()
    for _ in range(REHEARSALS):
        rehearsal = Rehearsal(names, untrue)
        random.seed(CHANCE)
        verdict_text = repr(rehearsal.verdict(check))
        last = len(rehearsal.asked) - 1
        # Where a test wants something to be false, its last answer was too agreeable.
        if '"AssertionError"' not in verdict_text or last in untrue or last < 0:
            break
        untrue.add(last)
    # What stops the test early only makes the plan shorter, and a short plan decides nothing.
    asked = {"names": names, "calls": rehearsal.asked}
    return asked if last >= 0 and len(json.dumps(asked)) <= PLAN_CAP else None


def _strange_names(check: dict[str, Any]) -> list[str]:
    """Names that the test reads and neither sets itself nor finds among the built-in ones."""
    code = compiled(check["test"], "<test>")
    own = set(code.co_names) & _assigned(check["test"])
    builtin = set(dir(sys.modules["builtins"]))
    helpers = _assigned(check["helpers"])
    calls = {
        node.func.id
        for node in ast.walk(ast.parse(check["test"]))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    }
    return sorted((names_of(code) & calls) - own - builtin - helpers)


def _assigned(source: str) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            found.add(node.id)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            found |= {(alias.asname or alias.name).partition(".")[0] for alias in node.names}
    return found


# ---- judging answers ----------------------------------------------------------------------------


class Answers:
    """The lines that a candidate wrote, as a judge finds them when it asks.

    With `skips` the calls of a plan may be left out, never taken twice or in another order.
    """

    def __init__(self, text: str, asked: dict[str, Any], *, skips: bool) -> None:
        self._lines = text.split("\n")[:-1]
        self._names: list[str] = asked["names"]
        self._calls: list[list[Any]] = asked["calls"]
        self._skips = skips
        self._next = 0
        self._line = 0
        self._handles: dict[int, str] = {}
        self.has_skipped = False
        self.is_explaining = False
        """Whether an assertion has failed for good, and only its message is being made."""
        self.missing = ""
        """Why the test could not be decided by the answers; empty if it could."""

    def send(self, message: Any) -> None:
        what, *arguments = message
        self._asked_for = ""
        if what == "load":
            self._line = 0
        elif what == "names":
            self._line = 1
        elif what == "global" and arguments[0] in self._names:
            self._asked_for = arguments[0]
            self._line = 2 + self._names.index(arguments[0])
        elif what == "call":
            self._line = 2 + len(self._names) + self._place(*arguments)
        else:
            self._give_up("another question", NotPlanned)

    def _place(self, target: Any, *arguments: Any) -> int:
        wanted = [self._handles.get(target["object"][0]), *arguments]
        if self.is_explaining and self._next and self._calls[self._next - 1] == wanted:
            return self._next - 1  # Many a message repeats the call; the last answer will do.
        for place in range(self._next, len(self._calls)):
            if self._calls[place] == wanted:
                self.has_skipped |= place > self._next
                self._next = place + 1
                return place
            if not self._skips:
                break
        self._give_up("another call", NotPlanned)

    def receive(self) -> Any:
        if self._line >= len(self._lines):
            self._give_up("silence", NotSaid)
        line = self._lines[self._line]
        try:
            reply = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise Gone(f"a line is no JSON: {type(error).__name__}") from None
        if self._asked_for and isinstance(reply, list) and len(reply) == 2:
            found = reply[1]
            if isinstance(found, dict) and isinstance(found.get("object"), list):
                self._handles[int(found["object"][0])] = self._asked_for
        return reply

    def _give_up(self, why: str, error: type[BaseException]) -> NoReturn:
        self.missing = self.missing or why
        raise error(why)


class Reader(Judge):
    """A judge of answers."""

    def __init__(self, answers: Answers) -> None:
        super().__init__(answers)
        self._answers = answers

    def explain(self, message: Callable[[], Any]) -> Any:
        self._answers.is_explaining = True
        try:
            return message()
        finally:
            self._answers.is_explaining = False


def verdict(check: dict[str, Any], asked: dict[str, Any], text: str) -> dict[str, Any]:
    """What the judge says of the answers `text`, or {"missing": why} if that does not decide it."""
    answers = Answers(text, asked, skips=check["kind"] == "inputs")
    random.seed(CHANCE)
    ruling = repr(Reader(answers).verdict(check))
    if answers.missing:
        is_certain = answers.missing == "silence" and not answers.has_skipped
        return {"missing": "silence" if is_certain else "another question"}
    found: dict[str, Any] = json.loads(ruling)
    return found


_TESTS: dict[int, dict[str, Any]] = {}
"""The tests that this judge knows, by number: {"check", "asked"}."""


def work(items: list[dict[str, Any]]) -> None:
    """Do all of `items` and write a line of JSON for each as it is done: plans, and verdicts.

    An item has the number of its "test"; the first one that has it, also "check" and "asked". With
    "answers" it wants a verdict, else the plan.
    """
    trust_no_path_of_the_guest()
    sys.stdout.flush()
    out = os.dup(1)
    nothing = os.open("/dev/null", os.O_WRONLY)
    os.dup2(nothing, 1)
    for item in items:
        test = _TESTS.setdefault(item["test"], item)
        check = test["check"]
        if "answers" not in item:
            test["asked"] = plan(check)
            line = json.dumps(test["asked"])
        elif may_stay(check):
            _end_after(item["answers"])
            line = json.dumps(verdict(check, test["asked"], item["answers"]))
        else:
            line = _apart(check, test["asked"], item["answers"])
        # At once: should the next item be the end of this process, the others keep theirs.
        write_all(out, line.encode() + b"\n")
        signal.setitimer(signal.ITIMER_PROF, 0)
    sys.stdout.flush()
    os.dup2(out, 1)
    os.close(out)
    os.close(nothing)


def _end_after(answers: str) -> None:
    """End this process when what it does now has taken longer than it may.

    Not by an exception: a set of numbers that all have one hash is made without a look at signals.
    """
    cpu_s = ITEM_CPU_S + MIB_CPU_S * len(answers) / (1 << 20)
    signal.setitimer(signal.ITIMER_PROF, cpu_s)


def _apart(check: dict[str, Any], asked: dict[str, Any], text: str) -> str:
    """The line of one answers, from a child: its test may leave something behind in a process."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(read)
            _end_after(text)
            write_all(write, json.dumps(verdict(check, asked, text)).encode())
        finally:
            os._exit(0)
    os.close(write)
    with open(read, "rb") as stream:
        line = stream.read(TEXT_CAP)
    os.waitpid(child, 0)
    try:
        return json.dumps(json.loads(line))
    except (ValueError, RecursionError):
        return json.dumps({"missing": "another question"})


# ---- tests that leave nothing behind ------------------------------------------------------------

LASTING_NODES = (
    ast.Global,
    ast.Nonlocal,
    ast.Delete,
    ast.ClassDef,
    ast.With,
    ast.AsyncFunctionDef,
    ast.Await,
)
LASTING_NAMES = frozenset(
    (
        "exec",
        "eval",
        "compile",
        "__import__",
        "getattr",
        "setattr",
        "delattr",
        "globals",
        "locals",
        "vars",
        "open",
        "input",
        "breakpoint",
        "exit",
        "quit",
        "help",
    )
)
PLAIN_MODULES = frozenset(
    (
        "math",
        "cmath",
        "random",
        "copy",
        "string",
        "re",
        "collections",
        "itertools",
        "functools",
        "heapq",
        "bisect",
        "operator",
        "statistics",
        "fractions",
        "typing",
    )
)


def may_stay(check: dict[str, Any]) -> bool:
    """Whether the check can run in a process that others will run in: it changes nothing there.

    What it is given is plain data, whatever the candidate did. So only the test's own words can
    reach further, and these are read here.
    """
    if check["kind"] == "value":
        return _changes_nothing(check["code"])
    if check["kind"] != "calls":
        return True
    return _changes_nothing(check["test"]) and _changes_nothing(check["helpers"])


def _changes_nothing(source: str) -> bool:
    known = _KNOWN.get(source)
    if known is None:
        if len(_KNOWN) > 1024:
            _KNOWN.clear()
        known = _KNOWN[source] = all(map(_is_harmless, ast.walk(ast.parse(source))))
    return known


_KNOWN: dict[str, bool] = {}


def _is_harmless(node: ast.AST) -> bool:
    if isinstance(node, LASTING_NODES):
        return False
    if isinstance(node, ast.Name):
        return node.id not in LASTING_NAMES
    if isinstance(node, ast.Attribute):
        return isinstance(node.ctx, ast.Load) and not node.attr.startswith("_")
    if isinstance(node, ast.Import):
        return all(alias.name in PLAIN_MODULES for alias in node.names)
    if isinstance(node, ast.ImportFrom):
        return node.module in PLAIN_MODULES and not node.level
    return True
