"""Rewards for a trainer, and the judge endpoint as its usual client sees it."""

import asyncio
import base64
import math
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NoReturn, cast

import pytest
import sandbox_fusion as client
import uvicorn

from runner.evals.errors import BadInput
from runner.evals.rewards import Reward, reward
from runner.evals.run_code import RunCodeApp, run_code
from runner.evals.run_code_wire import Overloaded, RunCodeRequest, RunCodeResponse
from sandbox import AsyncSandbox, Policy, PoolFull, SessionLost
from tests.corpora import OWN, SAMPLES_HAVE_S

INC = {"test": "assert inc(1) == 2"}
GOOD, BAD = "def inc(x): return x + 1", "def inc(x): return x"


def test_rewards_are_ones_and_zeros_by_place() -> None:
    assert reward([GOOD, BAD, "x = (", GOOD], [INC] * 4) == [1.0, 0.0, 0.0, 1.0]


def test_the_first_call_starts_a_reward_function_and_close_ends_it() -> None:
    function = Reward(timeout_s=20)
    assert function([GOOD, BAD], [INC] * 2) == [1.0, 0.0]
    function.close()
    function.close()
    with pytest.raises(BadInput, match="the Reward is closed"):
        function([GOOD], [INC])
    assert "cellblock-rewards" not in {thread.name for thread in threading.enumerate()}


def test_the_end_of_a_program_ends_a_reward_function_that_it_did_not_close() -> None:
    program = (
        f"from runner.evals import Reward\nprint(Reward(timeout_s=20)([{GOOD!r}], [{INC!r}]))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "[1.0]\n", "")


def test_a_chats_messages_are_a_completion_and_what_is_none_is_told() -> None:
    chat = [{"role": "user", "content": "Write inc."}, {"role": "assistant", "content": GOOD}]
    with Reward(timeout_s=20) as function:
        assert function([chat], [INC]) == [1.0]
        for completions, tasks, said in (
            ([None], [INC], "completions:1: is of type NoneType, without a text"),
            ([[]], [INC], "completions:1: is of type list, without a text"),
            ([[{"role": "assistant", "content": None}]], [INC], "without a text"),
            (GOOD, [INC], "completions: is of type str"),
            ([GOOD], INC, "tasks: is of type dict"),
            ([GOOD], [3], "tasks:1: is of type int"),
            ([GOOD], [], "there are 1 completions and 0 tasks"),
        ):
            with pytest.raises(BadInput) as error:
                function(cast(Any, completions), cast(Any, tasks))
            assert said in str(error.value)


def test_a_warm_reward_function_gives_the_known_verdicts_twice() -> None:
    samples = OWN.rows("samples")[:40]
    expected = [float(row["passed"]) for row in OWN.rows("expected")[:40]]
    completions = [row["completion"] for row in samples]
    tasks = [row["task_id"] for row in samples]
    with Reward("humaneval", data=OWN["humaneval"], timeout_s=SAMPLES_HAVE_S) as function:
        assert function(completions, tasks) == expected
        assert function(completions[::-1], tasks[::-1]) == expected[::-1]


def test_what_the_budget_does_not_reach_is_no_number() -> None:
    slow = "import time\ntime.sleep(30)\n"
    with Reward(timeout_s=20, budget_s=3.0, jobs=1) as function:
        began = time.monotonic()
        given = function([GOOD, slow, GOOD], [INC] * 3)
        assert time.monotonic() - began < 15
        assert given[0] == 1.0
        assert all(map(math.isnan, given[1:]))
        assert function([GOOD], [INC]) == [1.0]


def test_an_answer_is_graded_as_a_model_writes_it_from_many_threads() -> None:
    answers = [f"<think>easy</think>\n```python\n{code}\n```\nDone." for code in (GOOD, BAD)]
    with Reward(timeout_s=20) as function, ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda one: function.graded([one], [INC])[0], answers * 4))
    assert [one.reward for one in found] == [1.0, 0.0] * 4
    assert {one.failure_reason for one in found} == {None, "wrong_answer"}
    assert all(one.reward_valid and not one.mask_sample for one in found)


def test_the_engines_trouble_is_no_reward(monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(*_arguments: object) -> None:
        raise SessionLost("gone")

    monkeypatch.setattr("runner.evals.grading.grader.Grader.grade", fail)
    monkeypatch.setattr("runner.evals.grading.retries.RETRY_AFTER_S", 0.0)
    with Reward() as function:
        [found] = function.graded([GOOD], [INC])
    assert math.isnan(found.reward)
    assert (found.failure_reason, found.reward_valid, found.mask_sample) == (
        "infrastructure",
        False,
        True,
    )


def test_tasks_and_completions_come_in_pairs() -> None:
    with Reward() as function:
        with pytest.raises(BadInput, match="1 completions and 2 tasks"):
            function([GOOD], [INC, INC])
        with pytest.raises(BadInput, match="tasks:1: no task is called 'T'"):
            function([GOOD], ["T"])


def ask(**fields: Any) -> RunCodeResponse:
    async def go() -> RunCodeResponse:
        async with AsyncSandbox(Policy(survive=False), pool_size=0) as box:
            return await run_code(box, RunCodeRequest(language="python", **fields))

    return asyncio.run(go())


def test_a_program_reads_its_input_and_files_and_leaves_files() -> None:
    answer = ask(
        code="open('out.txt', 'w').write(open('in.txt').read() + input())",
        stdin="two",
        files={"in.txt": base64.b64encode(b"one ").decode()},
        fetch_files=["out.txt", "nowhere.txt"],
    )
    assert answer.status == "Success"
    assert answer.files == {"out.txt": base64.b64encode(b"one two").decode()}
    assert answer.run_result is not None
    assert (answer.run_result.status, answer.run_result.return_code) == ("Finished", 0)


@pytest.mark.parametrize(
    ("code", "status", "return_code"),
    [
        ("1 / 0", "Finished", 1),
        ("import sys; sys.exit(3)", "Finished", 3),
        ("import os; os._exit(4)", "Finished", 4),
        ("import sys; sys.exit(-1)", "Finished", 255),
        ("import sys; sys.exit(2**70)", "Finished", 255),
        ("import sys; sys.exit('no')", "Finished", 1),
        ("import sys; sys.exit('\u00b2')", "Finished", 1),
        ("import sys; sys.exit(2.0)", "Finished", 1),
        ("import os; os.kill(os.getpid(), 9)", "Finished", 137),
        ("import os; os.abort()", "Finished", 134),
        ("x = (", "Finished", 1),
        ("x = [1] * 10**9", "Finished", 137),
        ("while True: pass", "TimeLimitExceeded", None),
    ],
)
def test_a_program_that_does_not_end_well_has_failed(
    code: str, status: str, return_code: int | None
) -> None:
    answer = ask(code=code, run_timeout=1)
    assert answer.status == "Failed"
    assert answer.run_result is not None
    assert (answer.run_result.status, answer.run_result.return_code) == (status, return_code)


def test_the_words_of_an_end_are_in_the_errors() -> None:
    for code, words in (
        ("import sys; sys.exit('why')", "why\n"),
        ("import os; os.kill(os.getpid(), 11)", "Segmentation fault\n"),
    ):
        answer = ask(code=code)
        assert answer.run_result is not None
        assert answer.run_result.stderr == words


def test_files_that_are_no_base64_are_named() -> None:
    answer = ask(code="1", files={"a.txt": "?"})
    assert answer.status == "SandboxError"
    assert "'a.txt' is no base64" in answer.message


class Full:
    """An engine without a place."""

    policy = Policy()

    def session(self) -> NoReturn:
        raise PoolFull(1.0, 1, 1)


async def test_an_engine_without_a_place_says_504_and_one_in_trouble_is_no_failure() -> None:
    app = RunCodeApp(cast(AsyncSandbox, Full()))
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, object]:
        return {"body": b'{"code": "1", "language": "python"}'}

    async def send(message: Any) -> None:
        sent.append(message)

    await app({"type": "http", "path": "/run_code", "method": "POST"}, receive, send)
    assert sent[0]["status"] == 504
    with pytest.raises(Overloaded):
        await run_code(cast(AsyncSandbox, Full()), RunCodeRequest(code="1", language="python"))
    lost = Full()
    lost.session = lambda: (_ for _ in ()).throw(SessionLost("gone"))  # type: ignore[method-assign]
    answer = await run_code(cast(AsyncSandbox, lost), RunCodeRequest(code="1", language="python"))
    assert (answer.status, answer.run_result) == ("SandboxError", None)


@pytest.fixture
def endpoint() -> Iterator[str]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        started = threading.Event()
        stops: list[Any] = []

        async def serve() -> None:
            async with AsyncSandbox(Policy(survive=False), pool_size=1) as box:
                server = uvicorn.Server(uvicorn.Config(RunCodeApp(box), log_level="error"))
                stops.append(server)
                started.set()
                await server.serve(sockets=[listener])

        thread = threading.Thread(target=lambda: asyncio.run(serve()))
        thread.start()
        started.wait()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        stops[0].should_exit = True
        thread.join()


def test_the_usual_client_understands_every_answer(endpoint: str) -> None:
    def run(code: str, language: str = "python", **more: Any) -> Any:
        request = client.RunCodeRequest(code=code, language=language, **more)
        return client.run_code(request, endpoint=endpoint, max_attempts=1)

    good = run("print(input())", stdin="hello")
    assert (good.status, good.run_result.stdout) == (client.RunStatus.Success, "hello\n")
    bad = run("raise ValueError('no')")
    assert (bad.status, bad.run_result.return_code) == (client.RunStatus.Failed, 1)
    assert "ValueError: no" in bad.run_result.stderr
    late = run("while True: pass", run_timeout=1)
    assert late.run_result.status == client.models.CommandRunStatus.TimeLimitExceeded
    with pytest.raises(Exception, match="not supported"):
        run("int main() {}", "cpp")
