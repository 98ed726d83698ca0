"""The candidate's own process: loads its code, does what the judge asks, tells what came of it.

Hostile from the first line of the candidate on, and every answer of it. It holds the
two ends of its pipes, the standard descriptors, and no copy of any test that the judge keeps.
"""

import io
import json
import os
import random
import struct
import sys
import unittest
from collections.abc import Callable
from types import FunctionType, ModuleType
from typing import Any, NoReturn

from runner.evals.guest.codec import NotPlain, decode, encode
from runner.evals.guest.tracebacks import describe, show_lines

HEADER = struct.Struct("!I")
FRAME_CAP = 64 * 1024 * 1024
WITNESS_CAP = 256 * 1024
"""Operands of an assertion that are longer are not shown to the judge."""
FILE = "<candidate>"
MODULE = "__test__"
CHANCE = 20_240_607
LESS_DEEP = 4
"""Frames that a call has less above it than a snippet: where a recursion ends is told in verdicts,
which are the same in whatever way a candidate is asked."""
MUTABLE = (list, dict, set, bytearray)

RECHECKED = (
    "assertEqual",
    "assertNotEqual",
    "assertTrue",
    "assertFalse",
    "assertIs",
    "assertIsNot",
    "assertIsNone",
    "assertIsNotNone",
    "assertIn",
    "assertNotIn",
    "assertAlmostEqual",
    "assertNotAlmostEqual",
    "assertGreater",
    "assertGreaterEqual",
    "assertLess",
    "assertLessEqual",
    "assertListEqual",
    "assertDictEqual",
    "assertTupleEqual",
    "assertSetEqual",
    "assertCountEqual",
    "assertSequenceEqual",
    "assertMultiLineEqual",
    "assertRegex",
    "assertNotRegex",
)
"""Assertions over values: the judge decides each of them again, on copies of the operands."""


class Gone(Exception):
    """The other end of a pipe was closed, or spoke no sense."""


def write_all(fd: int, data: bytes) -> None:
    """Write `data` to `fd`, whatever a single write takes of it."""
    left = memoryview(data)
    while left:
        left = left[os.write(fd, left) :]


class Pipes:
    """Frames of JSON in and out, over two descriptors."""

    def __init__(self, reader: int, writer: int) -> None:
        self.reader = reader
        self.writer = writer

    def send(self, message: Any) -> None:
        body = json.dumps(message).encode()
        try:
            write_all(self.writer, HEADER.pack(len(body)) + body)
        except OSError as error:
            raise Gone(str(error)) from None

    def receive(self) -> Any:
        (length,) = HEADER.unpack(self._read(HEADER.size))
        if length > FRAME_CAP:
            raise Gone(f"a frame claims {length} bytes")
        try:
            return json.loads(self._read(length))
        except (ValueError, RecursionError) as error:
            raise Gone(f"a frame is no JSON: {type(error).__name__}") from None

    def _read(self, count: int) -> bytes:
        parts = []
        while count:
            part = os.read(self.reader, min(count, 1 << 20))
            if not part:
                raise Gone("the pipe was closed")
            parts.append(part)
            count -= len(part)
        return b"".join(parts)


def serve(source: str, place: str, pipes: Pipes) -> NoReturn:
    """Be the candidate's process until the judge has enough of it."""
    try:
        os.closerange(pipes.writer + 1, 1024)
        for fd in range(3, pipes.writer):
            if fd != pipes.reader:
                _close(fd)
        _silence()
        _seed()
        CandidateProcess(source, place, pipes).serve()
    finally:
        # Whatever happens, no frame above this one belongs to the candidate.
        os._exit(70)


def answer_beforehand(source: str, place: str, asked: dict[str, Any]) -> None:
    """Be the candidate in this very process, and answer on stdout what is `asked` beforehand.

    For a session that holds the candidate and nothing else; its judge lives in another one.
    """
    answers = os.dup(1)
    _silence()
    _seed()
    CandidateProcess(source, place, Pipes(-1, answers)).answer_all(asked, answers)


def answer_call(given: str) -> None:
    """Answer as `answer_beforehand` does what `given` holds as JSON, in a session's call."""
    arguments: dict[str, Any] = json.loads(given)
    _call_below(
        LESS_DEEP,
        lambda: answer_beforehand(arguments["source"], arguments["place"], arguments["asked"]),
    )


def _call_below(frames: int, function: Callable[[], None]) -> None:
    """Call `function` in the last of so many frames, of which this is the first."""
    if frames > 2:
        _call_below(frames - 1, function)
    else:
        function()


def _silence() -> None:
    """Make standard input unreadable, and drop what is written to stdout."""
    nothing = os.open("/dev/null", os.O_RDWR)
    os.dup2(nothing, 0)
    os.dup2(nothing, 1)
    os.close(nothing)
    sys.stdin = Unreadable()


class Unreadable(io.StringIO):
    """A standard input that cannot be read, as the reference harnesses give candidates."""

    def read(self, *_args: Any) -> str:
        raise OSError

    def readline(self, *_args: Any) -> str:  # type: ignore[override]
        raise OSError

    def readlines(self, *_args: Any) -> list[str]:  # type: ignore[override]
        raise OSError

    def readable(self) -> bool:
        return False


def _close(fd: int) -> None:
    try:
        os.close(fd)
    except OSError:
        return


def _seed() -> None:
    random.seed(CHANCE)
    numpy_random = sys.modules.get("numpy.random")
    if numpy_random is not None:
        numpy_random.seed(CHANCE & 0xFFFFFFFF)


class CandidateProcess:
    """The candidate's namespace and the objects that the judge has a handle of."""

    def __init__(self, source: str, place: str, pipes: Pipes) -> None:
        self._source = source
        self._pipes = pipes
        self._pid = os.getpid()
        self._objects: list[Any] = []
        self._requests: dict[str, Callable[..., Any]] = {
            "names": lambda: [name for name in self.names if type(name) is str],
            "global": lambda name: self.names[name],
            "call": lambda target, args, kwargs: target(*args, **kwargs),
            "getattr": getattr,
            "setattr": setattr,
            "getitem": lambda target, key: target[key],
            "setitem": lambda target, key, value: target.__setitem__(key, value),
            "iter": iter,
            "next": next,
            "len": len,
            "bool": bool,
            "str": str,
            "unittest": self._unittest,
            "context": self._context,
        }
        if place == "module":
            module = ModuleType(MODULE)
            module.__file__ = MODULE + ".py"
            sys.modules[MODULE] = module
            self.names: dict[str, Any] = module.__dict__
        else:
            # As under exec: the block behind `if __name__ == "__main__"` does not run.
            self.names = {}

    def serve(self) -> NoReturn:
        """Answer requests in order; the first one starts the candidate's code."""
        while True:
            try:
                message = self._pipes.receive()
            except Gone:
                os._exit(0)
            try:
                reply = self._reply(*message)
            # The judge decides what an error of the candidate's means, of whatever kind.
            except BaseException as error:  # noqa: BLE001
                reply = ["raised", *describe(error)]
            self._pipes.send(reply)

    def answer_all(self, asked: dict[str, Any], answers: int) -> None:
        """Do what a judge would ask, unasked: a line on `answers` for each, in order.

        First the load, then the names, each of the globals `asked["names"]`, and the calls
        `asked["calls"]` of them. An interrupt is the engine's, and ends it.
        """
        handles: dict[str, Any] = {}
        if self._answer(answers, "load")[0] != "value":
            return
        self._answer(answers, "names")
        for name in asked["names"]:
            _kind, found, *_rest = self._answer(answers, "global", name)
            if isinstance(found, dict) and "object" in found:
                handles[name] = found
        for name, *arguments in asked["calls"]:
            if name not in handles:
                return
            self._answer(answers, "call", handles[name], *arguments)

    def _answer(self, answers: int, *message: Any) -> list[Any]:
        try:
            reply = self._reply(*message)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # noqa: BLE001
            reply = ["raised", *describe(error)]
        if os.getpid() != self._pid:
            os._exit(0)  # A child of the candidate's has nothing to say.
        write_all(answers, json.dumps(reply).encode() + b"\n")
        return reply

    def _reply(self, what: str, *arguments: Any) -> list[Any]:
        """What there is to say to one request. Raises whatever the candidate raises."""
        if what == "load":
            show_lines(FILE, self._source)
            code = compile(self._source, FILE, "exec", dont_inherit=True)
            exec(code, self.names)
            return ["value", None]
        if what == "call":
            return self._call(*arguments)
        given = [decode(argument, self._find) for argument in arguments]
        result = self._requests[what](*given)
        if what == "iter":
            return ["value", {"object": [self._keep(result), "iterator"]}]
        return ["value", encode(result, self._keep)]

    def _call(self, target: Any, args: Any, kwargs: Any, follow: bool) -> list[Any]:
        """Call, and say how the arguments look afterwards if they were changed in place."""
        given = decode(args, self._find)
        result = decode(target, self._find)(*given, **decode(kwargs, self._find))
        reply = ["value", encode(result, self._keep)]
        if follow and any(type(one) in MUTABLE for one in given):
            after = [encode(one, self._keep) for one in given]
            if after != args:
                reply.append(after)
        return reply

    def _keep(self, value: Any) -> int:
        self._objects.append(value)
        return len(self._objects) - 1

    def _find(self, number: int, _name: str) -> Any:
        return self._objects[number]

    def _context(self, context: str, solution: str) -> dict[str, Any]:
        """Run a solution in a context that brings its own tests, then one that must not pass."""
        test = test_of(context)
        test(solution)
        pyplot = sys.modules.get("matplotlib.pyplot")
        if pyplot is not None:
            # A solution leaves its figure open, and the next one is looked for in it.
            pyplot.close("all")
        return {"canary": canary_in(test)}

    def _unittest(self, source: str, classes: list[str]) -> dict[str, Any]:
        changed = _changed_tools()
        exec(compile(source, "<test>", "exec", dont_inherit=True), self.names)
        found = {name: self.names.get(name) for name in classes}
        report: dict[str, Any] = {}
        for name, case in found.items():
            if not (isinstance(case, type) and issubclass(case, unittest.TestCase)):
                raise NameError(f"{name} is no test class any more")
            report[name] = self._run_class(case)
        return {
            "classes": report,
            "changed": changed or _changed_tools(),
            "canary": _canary(),
        }

    def _run_class(self, case: type[unittest.TestCase]) -> dict[str, Any]:
        watched = type(case.__name__, (case,), {"__module__": case.__module__})
        for name in RECHECKED:
            setattr(watched, name, self._witnessed(case, name))
        result = unittest.TestResult()
        suite = unittest.defaultTestLoader.loadTestsFromTestCase(watched)
        tests = [test.id().rpartition(".")[2] for test in suite if hasattr(test, "id")]
        suite.run(result)
        bad = [(str(test), text[-2000:]) for test, text in result.failures + result.errors]
        return {
            "tests": tests,
            "run": result.testsRun,
            "failures": len(result.failures),
            "errors": len(result.errors),
            "bad": bad[:20],
        }

    def _witnessed(self, case: type[unittest.TestCase], name: str) -> Callable[..., None]:
        """The assertion `name`, its operands also shown to the judge once it held here."""
        original = getattr(case, name)
        shown_by = self

        def witnessed(test: unittest.TestCase, *args: Any, **kwargs: Any) -> None:
            nested = test.__dict__.get("_is_asserting", False)
            test.__dict__["_is_asserting"] = True
            try:
                original(test, *args, **kwargs)
            finally:
                test.__dict__["_is_asserting"] = nested
            if not nested:
                shown_by._show(test, name, args, kwargs)

        return witnessed

    def _show(
        self, test: unittest.TestCase, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> None:
        where = [type(test).__name__, test._testMethodName]
        kwargs.pop("msg", None)
        try:
            operands = [encode(list(args)), encode(kwargs)]
            is_short = len(json.dumps(operands)) <= WITNESS_CAP
        except (NotPlain, RecursionError):
            is_short = False
        self._pipes.send(["held", *where, name, *(operands if is_short else ())])


def test_of(context: str) -> Callable[[str], None]:
    """The test that a context brings along: raises if a solution is wrong."""
    names: dict[str, Any] = {"__name__": MODULE}
    exec(compile(context, "<context>", "exec", dont_inherit=True), names)

    compare = names.get("exec_test")
    if callable(compare):

        def guarded(result: Any, *rest: Any) -> Any:
            _require_no_own_equality(result)
            return compare(result, *rest)

        names["exec_test"] = guarded

    def test(code: str) -> None:
        names["test_execution"](code)
        if "test_string" in names:
            names["test_string"](code)

    return test


def canary_in(test: Callable[[str], None]) -> str:
    """What becomes of a solution that is wrong for every task."""
    try:
        test("result = object()")
    except Exception:  # noqa: BLE001
        return "failed"
    return "passed"


def _require_no_own_equality(value: Any, depth: int = 0) -> None:
    """Raise TypeError for an object, or an item of one, that a solution taught what is equal."""
    for base in type.mro(type(value)):
        method = vars(base).get("__eq__")
        if isinstance(method, FunctionType) and method.__code__.co_filename.startswith("<"):
            raise TypeError(f"{type(value).__name__} decides by itself what it is equal to")
    if isinstance(value, list | tuple | dict) and depth < 3:
        for item in value.values() if isinstance(value, dict) else value:
            _require_no_own_equality(item, depth + 1)


# ---- tools that tests rely on -------------------------------------------------------------------

TOOLS = {
    f"{holder.__name__}.{name}": (holder, name, vars(holder)[name])
    for holder in (
        unittest.TestCase,
        unittest.TestResult,
        unittest.TestSuite,
        unittest.TestLoader,
        unittest.suite.BaseTestSuite,
    )
    for name in tuple(vars(holder))
    if not name.startswith("__") or name == "__call__"
}
WORDS = ("AssertionError", "isinstance", "len", "all", "any", "abs", "sorted", "type", "object")
BUILTIN_WORDS = {word: getattr(sys.modules["builtins"], word) for word in WORDS}


def _changed_tools() -> str:
    """Name of a tool of the tests that is not what it was before the candidate's code."""
    for label, (holder, name, value) in TOOLS.items():
        if name.startswith("_class_cleanups") or name.startswith("_previous"):
            continue
        if vars(holder).get(name) is not value:
            return label
    for word, value in BUILTIN_WORDS.items():
        if getattr(sys.modules["builtins"], word, None) is not value:
            return word
    return ""


def _canary() -> str:
    """What becomes of a test that cannot pass."""

    class Canary(unittest.TestCase):
        def test_equal(self) -> None:
            self.assertEqual(1, 2)  # noqa: PT009

        def test_truth(self) -> None:
            self.assertTrue(False)  # noqa: PT009

        def test_statement(self) -> None:
            assert [1] == [2]

    result = unittest.TestResult()
    unittest.defaultTestLoader.loadTestsFromTestCase(Canary).run(result)
    return "failed" if len(result.failures) == 3 else "passed"
