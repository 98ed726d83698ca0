"""The judge's process: holds the tests, never runs a line of the candidate, says the verdict.

The session's own process is the judge. It forks the candidate's process before it has got
any test, closes nothing that it needs itself, and imports from nowhere that the candidate can
write. `replay` has the other way: answers that a candidate in another jail gave beforehand. See
runner/evals/grading/grader.py for which process trusts which.
"""

import builtins
import json
import os
import random
import signal
import sys
import time
import unittest
from collections.abc import Callable, Iterator
from typing import Any, Protocol

from runner.evals.guest.candidate import (
    CHANCE,
    Gone,
    Pipes,
    canary_in,
    serve,
    test_of,
)
from runner.evals.guest.codec import decode, encode, outlined
from runner.evals.guest.compare import Comparison, expected_by
from runner.evals.guest.compiled import EXPLAIN, compiled, names_of
from runner.evals.guest.literals import literal, literal_arguments
from runner.evals.guest.tests import require_imports, tests_in
from runner.evals.guest.tracebacks import below_the_test, describe, show_lines

GUEST_ROOTS = ("/workspace", "/mnt/data", "/tmp", "/dev/shm")
REPORTED_CAP = 4000
HANDLINGS = 4
"""A long answer is put into words, read, made a value again and compared."""
BROKEN_TEST = (ModuleNotFoundError, SyntaxError)
"""Raised by the judge itself these say that the test cannot run here, whatever the candidate."""


class CandidateGone(BaseException):
    """The candidate's process ended, or answered what makes no sense, before its test was over."""

    def __init__(self, outcome: str, text: str) -> None:
        super().__init__(text)
        self.outcome = outcome


class CandidateLeft(BaseException):
    """The candidate raised what is no Exception, such as SystemExit."""


class Forged(Exception):
    """What the candidate's process says of a test does not hold."""


class Raised(Exception):
    """An error of the candidate's whose class the judge cannot build."""


class Verdict:
    """What the echo of the last snippet shows: one JSON object."""

    def __init__(self, fields: dict[str, Any]) -> None:
        self._text = json.dumps(fields)

    def __repr__(self) -> str:
        return self._text


class Remote:
    """Stands for an object in the candidate's process; equal to nothing but itself.

    Its comparison is the judge's, so an object that calls itself equal to everything is not.
    """

    __slots__ = ("_judge", "_kind", "_number")

    def __init__(self, judge: "Judge", number: int, kind: str) -> None:
        object.__setattr__(self, "_judge", judge)
        object.__setattr__(self, "_number", number)
        object.__setattr__(self, "_kind", kind)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._judge.call(self, args, kwargs)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") and name not in ("__name__", "__doc__", "__dict__"):
            raise AttributeError(name)
        return self._judge.ask("getattr", self, name)

    def __setattr__(self, name: str, value: Any) -> None:
        self._judge.ask("setattr", self, name, value)

    def __getitem__(self, key: Any) -> Any:
        return self._judge.ask("getitem", self, key)

    def __setitem__(self, key: Any, value: Any) -> None:
        self._judge.ask("setitem", self, key, value)

    def __iter__(self) -> Iterator[Any]:
        found: Iterator[Any] = self._judge.ask("iter", self)
        return found

    def __next__(self) -> Any:
        return self._judge.ask("next", self)

    def __len__(self) -> int:
        found = self._judge.ask("len", self)
        return found if type(found) is int else -1

    def __bool__(self) -> bool:
        return self._judge.ask("bool", self) is True

    def __str__(self) -> str:
        found = self._judge.ask("str", self)
        return found if type(found) is str else repr(self)

    def __repr__(self) -> str:
        return f"<{self._kind} of the candidate>"


class Conversation(Protocol):
    """Where questions to a candidate go and its answers come from. Both raise Gone."""

    def send(self, message: Any) -> None: ...

    def receive(self) -> Any: ...


def trust_no_path_of_the_guest() -> None:
    """Import nothing from where a candidate can write."""
    sys.path[:] = [entry for entry in sys.path if entry and not _is_of_the_guest(entry)]


def _is_of_the_guest(path: str) -> bool:
    """Whether `path` is, or could be made, in a place of the guest's.

    An environment may lie there too, mounted read-only.
    """
    if not path.startswith(GUEST_ROOTS):
        return False
    try:
        return not os.statvfs(path).f_flag & os.ST_RDONLY
    except OSError:
        return True


class Judge:
    """One candidate, from its first line to the verdict."""

    def __init__(self, pipes: Conversation, child: int = 0) -> None:
        self._pipes = pipes
        self._child = child
        self._rechecked = 0
        self._unseen = 0

    @classmethod
    def fork(cls, source: str, place: str) -> "Judge":
        """A judge in this process, and the candidate in a child that knows no test."""
        trust_no_path_of_the_guest()
        random.seed(CHANCE)
        questions, ask = os.pipe()
        answers, tell = os.pipe()
        child = os.fork()
        if child == 0:
            sys.path.insert(0, "/workspace")
            os.close(ask)
            os.close(answers)
            serve(source, place, Pipes(questions, tell))
        os.close(questions)
        os.close(tell)
        return cls(Pipes(answers, ask), child)

    def verdict(self, check: dict[str, Any]) -> Verdict:
        """Load the candidate and run the check; whatever happens, a verdict."""
        details: dict[str, Any] = {}
        try:
            require_imports(check.get("imports", ""))
            self.ask("load")
            details = CHECKS[check["kind"]](self, check) or {}
            fields = {"outcome": "passed", "result": "passed"}
        except CandidateGone as error:
            fields = {"outcome": error.outcome, "result": f"crashed: {error}"}
        # The test may raise anything: that is what a failed test is.
        except BaseException as error:  # noqa: BLE001
            fields = self._failed(error)
        return Verdict({**fields, "details": getattr(self, "_details", details)})

    def _failed(self, error: BaseException) -> dict[str, Any]:
        candidates = getattr(error, "described_by_candidate", None)
        names, message, text = candidates or describe(error)
        if candidates is not None:
            text = below_the_test(error, text)
        outcome = "out_of_memory" if names[0] == "MemoryError" else "failed"
        if candidates is None and isinstance(error, BROKEN_TEST):
            outcome = "infrastructure"
        return {
            "outcome": outcome,
            "result": f"failed: {message[:REPORTED_CAP]}",
            "error": names[0],
            "traceback": text,
        }

    def note(self, **details: Any) -> None:
        """Keep `details` for the verdict, also if what follows raises."""
        self._details = {**getattr(self, "_details", {}), **details}

    # ---- talking to the candidate ---------------------------------------------------------------

    def ask(self, what: str, *arguments: Any) -> Any:
        """What the candidate's process answers. Raises what the candidate raised."""
        self._send([what, *(encode(argument, self._number) for argument in arguments)])
        return self._answer(self._receive())[0]

    def call(
        self, target: Remote, args: tuple[Any, ...], kwargs: dict[str, Any], follow: bool = True
    ) -> Any:
        """Call the candidate's function; lists and the like that it changed are changed here."""
        sent = encode(list(args), self._number)
        self._send(
            ["call", encode(target, self._number), sent, encode(kwargs, self._number), follow]
        )
        value, changed = self._answer(self._receive())
        for before, after in zip(args, changed or (), strict=False):
            _become(before, self._decoded(after))
        return value

    def _answer(self, reply: Any) -> tuple[Any, Any]:
        if isinstance(reply, list) and len(reply) in (2, 3) and reply[0] == "value":
            return self._decoded(reply[1]), reply[2] if len(reply) == 3 else None
        if isinstance(reply, list) and len(reply) == 4 and reply[0] == "raised":
            names, message, text = reply[1:]
            if isinstance(names, list) and names and isinstance(message, str):
                raise _rebuilt([str(name) for name in names], message, str(text))
        raise CandidateGone("failed", "its process spoke out of turn")

    def _decoded(self, data: Any) -> Any:
        try:
            return decode(data, lambda number, kind: Remote(self, number, kind))
        except (ValueError, TypeError, ArithmeticError, RecursionError, AttributeError):
            raise CandidateGone("failed", "its process spoke out of turn") from None

    @staticmethod
    def _number(value: Any) -> int:
        if isinstance(value, Remote):
            number: int = object.__getattribute__(value, "_number")
            return number
        raise TypeError(f"a {type(value).__name__} of the test cannot be given to the candidate")

    def _send(self, message: Any) -> None:
        try:
            self._pipes.send(message)
        except Gone:
            raise self._ending() from None

    def _receive(self) -> Any:
        try:
            return self._pipes.receive()
        except Gone as error:
            raise self._ending(str(error)) from None

    def _ending(self, why: str = "the pipe was closed") -> CandidateGone:
        if why != "the pipe was closed":
            return CandidateGone("failed", f"its process spoke out of turn: {why}")
        _pid, status = os.waitpid(self._child, 0)
        code = os.waitstatus_to_exitcode(status)
        if code < 0:
            how = f"was killed by {signal.Signals(-code).name}"
        else:
            how = f"exited with status {code}"
        return CandidateGone("crashed", f"its process {how} before the test was over")

    def explain(self, message: Callable[[], Any]) -> Any:
        """The message of an assertion that does not hold."""
        return message()

    # ---- checks ---------------------------------------------------------------------------------

    def calls(self, check: dict[str, Any]) -> None:
        """Run tests here; the functions that they call are the candidate's, by stand-ins."""
        names: dict[str, Any] = {"__name__": "test", EXPLAIN: self.explain}
        if check["helpers"]:
            exec(compiled(check["helpers"], "<prompt>"), names)
        show_lines("<prompt>", check["helpers"])
        show_lines("<test>", check["test"])
        code = compiled(check["test"], "<test>")
        entry = check["entry"]
        theirs = set(self.ask("names"))
        for name in sorted((names_of(code) | {entry}) & theirs):
            is_asked_for = name == entry or name in check.get("named", ())
            if is_asked_for or not (name in names or hasattr(builtins, name)):
                names[name] = self.ask("global", name)
        exec(code, names)
        if entry:
            if entry not in theirs:
                raise NameError(f"name {entry!r} is not defined")
            if check["call"]:
                names["check"](names[entry])

    def inputs(self, check: dict[str, Any]) -> None:
        """Compare the candidate's value with the reference's, for each list of arguments."""
        target = self.ask("global", check["entry"])
        if not isinstance(target, Remote):
            raise TypeError(f"{check['entry']} is no function")
        again = _reference(*check["reference"]) if check["reference"] else None
        failure: Exception | None = None
        done: dict[str, bool] = {}
        comparison = Comparison(check["rule"], check["atol"])
        for group, rows in check["groups"].items():
            done[group] = True
            for args, expected in rows:
                try:
                    got = self.call(target, tuple(decode(args)), {}, follow=False)
                    if again:
                        wanted = expected_by(check["rule"], again(*decode(args)))
                    else:
                        wanted = decode(expected)
                    comparison.require(got, wanted, decode(args))
                except Exception as error:  # noqa: BLE001
                    done[group] = False
                    failure = failure or error
                    break
            self.note(groups=done)
        if failure is not None:
            raise failure

    def value(self, check: dict[str, Any]) -> None:
        """Compare one value: predicted by the candidate, or made of arguments it predicted."""
        names: dict[str, Any] = {}
        exec(compile(check["code"], "<code>", "exec", dont_inherit=True), names)
        expected = eval(compile(check["output"], "<output>", "eval"), names)
        if check["mode"] == "output":
            got = literal(check["text"])
        elif check["text"] in (check["input"], f"f({check['input']})"):
            # Some inputs of the suite are no literals; they are its own.
            got = eval(compile(f"f({check['input']})", "<input>", "eval"), names)
        else:
            args, kwargs = literal_arguments(check["text"])
            got = names["f"](*args, **kwargs)
        assert expected == got, f"{expected!r} is not {got!r}"

    def unittest(self, check: dict[str, Any]) -> None:
        """Have the tests run beside the candidate, and decide their assertions again here."""
        expected = tests_in(check["test"])
        require_imports(check["test"])
        classes = check["classes"] or [name for name in expected if expected[name]]
        self._send(["unittest", encode(check["test"]), encode(classes)])
        seen: dict[tuple[str, str], int] = {}
        while True:
            reply = self._receive()
            if not (isinstance(reply, list) and reply and reply[0] == "held"):
                break
            self._recheck(reply, seen)
        report = self._answer(reply)[0]
        self.note(rechecked=self._rechecked, unseen=self._unseen)
        self._judge_report(report, classes, expected, seen)

    def _recheck(self, reply: list[Any], seen: dict[tuple[str, str], int]) -> None:
        where = (str(reply[1]), str(reply[2]))
        seen[where] = seen.get(where, 0) + 1
        name = str(reply[3])
        if len(reply) != 6:
            self._unseen += 1
            return
        if not name.startswith("assert"):
            raise CandidateGone("failed", "its process spoke out of turn")
        args, kwargs = self._decoded(reply[4]), self._decoded(reply[5])
        self._rechecked += 1
        try:
            getattr(unittest.TestCase(), name)(*args, **kwargs)
        except AssertionError as error:
            raise Forged(f"{name} in {'.'.join(where)} does not hold: {error}") from None

    def _judge_report(
        self,
        report: Any,
        classes: list[str],
        expected: dict[str, dict[str, bool]],
        seen: dict[tuple[str, str], int],
    ) -> None:
        if not isinstance(report, dict) or not isinstance(report.get("classes"), dict):
            raise CandidateGone("failed", "its process spoke out of turn")
        if report.get("changed"):
            raise Forged(f"the candidate changed {report['changed']}")
        if report.get("canary") != "failed":
            raise Forged("a test that cannot pass passed beside the candidate")
        good: dict[str, bool] = {}
        first = ""
        for name in classes:
            row = report["classes"].get(name)
            if not isinstance(row, dict):
                raise Forged(f"{name} was not run")
            bad = row.get("failures", 1) or row.get("errors", 1)
            good[name] = not bad
            if bad and not first and row.get("bad"):
                first = str(row["bad"][0])[:REPORTED_CAP]
            missing = set(expected.get(name, {})) - set(row.get("tests", ()))
            if missing:
                raise Forged(f"{name}.{min(missing)} was not run")
        self.note(classes=good)
        if not all(good.values()):
            raise AssertionError(first or "a test failed")
        for name in classes:
            for test, asserts in expected.get(name, {}).items():
                if asserts and not seen.get((name, test)):
                    raise Forged(f"{name}.{test} ended without one of its assertions")

    def context(self, check: dict[str, Any]) -> None:
        """Run a solution in its context, tests included, beside the candidate."""
        report = self.ask("context", check["context"], check["solution"])
        if not isinstance(report, dict) or report.get("canary") not in ("failed", "passed"):
            raise CandidateGone("failed", "its process spoke out of turn")
        if report["canary"] == "passed" and not _passes_anything(check["context"]):
            raise Forged("a solution that cannot pass passed beside the candidate")


CHECKS: dict[str, Callable[[Judge, dict[str, Any]], Any]] = {
    "calls": Judge.calls,
    "inputs": Judge.inputs,
    "value": Judge.value,
    "unittest": Judge.unittest,
    "context": Judge.context,
}


def _passes_anything(context: str) -> bool:
    """Whether a context passes a wrong solution also where there never was a candidate."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            status = 0 if canary_in(test_of(context)) == "passed" else 1
        finally:
            os._exit(status)
    return os.waitpid(child, 0)[1] == 0


def _reference(source: str, entry: str) -> Callable[..., Any]:
    names: dict[str, Any] = {}
    exec(compile(source, "<reference>", "exec", dont_inherit=True), names)
    found: Callable[..., Any] = names[entry]
    return found


def reference_values(
    source: str, entry: str, groups: dict[str, list[Any]], rule: str, cap: int
) -> str:
    """What a trusted solution gives for each list of arguments, as JSON.

    No values if they are longer than `cap`; instead the CPU seconds that a judge needs to find
    them again, and a candidate's process to put as many into words.
    """
    function = _reference(source, entry)
    began = time.process_time()
    values = {
        group: [expected_by(rule, function(*decode(args))) for args in rows]
        for group, rows in groups.items()
    }
    found = time.process_time()
    text = json.dumps({group: [outlined(one) for one in rows] for group, rows in values.items()})
    if len(text) <= cap:
        return f'{{"values": {text}, "handling_s": 0.0}}'
    written_s = time.process_time() - found
    return json.dumps({"values": {}, "handling_s": found - began + HANDLINGS * written_s})


def _become(before: Any, after: Any) -> None:
    """Make the container `before` hold what `after` holds."""
    if type(before) is not type(after) or before == after:
        return
    if isinstance(before, list | bytearray):
        before[:] = after
    elif isinstance(before, dict | set):
        before.clear()
        before.update(after)


def _rebuilt(names: list[str], message: str, text: str) -> BaseException:
    """An error as the candidate raised it, of the nearest class that the judge has too."""
    error: BaseException | None = None
    if "Exception" not in names:
        error = CandidateLeft(message)
    for name in names if error is None else ():
        found = getattr(builtins, name, None)
        if isinstance(found, type) and issubclass(found, Exception):
            try:
                error = found(message)
            except TypeError:
                continue  # UnicodeDecodeError wants five arguments; its base does not.
            break
    error = error or Raised(message)
    error.__dict__["described_by_candidate"] = (names, message, text)
    return error
