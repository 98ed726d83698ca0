"""`POST /run_code` of the server, by the client that judges and trainers use."""

import base64
from concurrent.futures import ThreadPoolExecutor

import httpx2
import pytest
import sandbox_fusion
from sandbox_fusion.models import CommandRunStatus
from serving import KEY, TalkModel, config, directory, serving

from runner.config import KeySettings


def run(server, code: str, *, language: str = "python", key: str = KEY, **more):
    request = sandbox_fusion.RunCodeRequest(code=code, language=language, **more)
    endpoint = server.origin.replace("://", f"://judge:{key}@")
    return sandbox_fusion.run_code(request, endpoint=endpoint, max_attempts=1)


def test_a_program_reads_runs_and_leaves_files(server):
    files = {"in.txt": base64.b64encode(b"one ").decode()}
    answer = run(
        server, "open('out.txt', 'w').write(open('in.txt').read() + input())\nprint('done')",
        stdin="two", files=files, fetch_files=["out.txt"],
    )  # fmt: skip
    assert answer.status == sandbox_fusion.RunStatus.Success
    assert answer.run_result.stdout == "done\n"
    assert base64.b64decode(answer.files["out.txt"]) == b"one two"


def test_a_program_that_fails_or_is_late_is_told_as_such(server):
    bad = run(server, "import sys\nprint('no', file=sys.stderr)\nsys.exit(3)")
    assert (bad.status, bad.run_result.return_code) == (sandbox_fusion.RunStatus.Failed, 3)
    assert bad.run_result.stderr == "no\n"
    late = run(server, "while True: pass", run_timeout=1)
    assert late.run_result.status == CommandRunStatus.TimeLimitExceeded


def test_another_language_makes_the_client_raise(server):
    with pytest.raises(Exception, match="only python, pytest, bash"):
        run(server, "int main() {}", language="cpp")


def test_a_program_is_a_file_that_finds_itself(server):
    answer = run(server, "print(open(__file__).read().count('x'), __name__)\n# x")
    assert answer.run_result.stdout == "2 __main__\n"


def test_files_lie_at_absolute_paths_too(server):
    answer = run(
        server, "print(open('/tmp/a/in').read())\nopen('/tmp/out', 'w').write('o')",
        files={"/tmp/a/in": base64.b64encode(b"i").decode(), "left out": None},
        fetch_files=["/tmp/out", "/tmp/none", "left out"],
    )  # fmt: skip
    assert answer.run_result.stdout == "i\n"
    assert answer.files == {"/tmp/out": base64.b64encode(b"o").decode()}
    with pytest.raises(Exception, match="outside of the places"):
        run(server, "1", files={"/etc/passwd": ""})


def test_a_shell_script_runs_with_its_files_input_and_exit_code(server):
    answer = run(
        server, "read word; cat d/in; echo $word; echo no >&2; exit 3", language="bash",
        stdin="two\n", files={"d/in": base64.b64encode(b"one ").decode()},
    )  # fmt: skip
    result = answer.run_result
    assert (result.stdout, result.stderr, result.return_code) == ("one two\n", "no\n", 3)
    late = run(server, "sleep 5", language="bash", run_timeout=0.2)
    assert late.run_result.status == CommandRunStatus.TimeLimitExceeded
    died = run(server, "kill -9 $$", language="bash")
    assert (died.status, died.run_result.return_code) == (sandbox_fusion.RunStatus.Failed, 137)


def ask(server, body, path="/run_code"):
    headers = {"authorization": f"Bearer {KEY}"}
    return httpx2.post(f"{server.origin}{path}", json=body, headers=headers, timeout=60).json()


@pytest.mark.parametrize(
    ("language", "code"),
    [
        ("python", "x = bytearray(200 << 20); print(len(x))"),
        ("bash", "python3 -c 'x = bytearray(200 << 20); print(len(x))'"),
    ],
)
def test_a_program_has_the_memory_that_was_asked_for(server, language, code):
    body = {"code": code, "language": language}
    assert ask(server, body | {"memory_limit_MB": 400})["status"] == "Success"
    small = ask(server, body | {"memory_limit_MB": 100})
    assert (small["status"], small["run_result"]["stdout"]) == ("Failed", "")


def test_what_the_policy_lowers_is_said(server):
    body = {"code": "print(1)", "language": "python"}
    told = ask(server, body | {"run_timeout": 1000, "memory_limit_MB": 5000})
    assert told["status"] == "Success"
    assert told["message"] == (
        "The policy allows 30 s of the 1000 s asked for."
        " The policy allows 1024 MB of the 5000 asked for."
    )
    assert ask(server, body)["message"] == ""
    assert "needs 16 MB" in ask(server, body | {"memory_limit_MB": 1})["message"]


@pytest.mark.slow
def test_what_is_fetched_is_bounded_and_each_file_is_fetched_once(server):
    write = "open('a', 'wb').write(bytes({} << 20))"
    answer = run(server, write.format(40), fetch_files=["a"] * 900)
    assert len(base64.b64decode(answer.files["a"])) == 40 << 20
    with pytest.raises(Exception, match="more than 64 MB"):
        run(server, write.format(65), fetch_files=["a"])


@pytest.mark.slow
def test_tests_run_by_pytest(server):
    # The many plugins that are installed beside this suite take seconds to load.
    plugins = b"[pytest]\naddopts = -p no:schemathesis -p no:hypothesispytest -p no:asyncio\n"
    files = {"pytest.ini": base64.b64encode(plugins).decode()}
    code = "def test_it(capfd):\n    print('a')\n    assert capfd.readouterr().out == {!r}\n"
    good = run(server, code.format("a\n"), language="pytest", files=files, run_timeout=30)
    assert good.status == sandbox_fusion.RunStatus.Success
    assert "1 passed" in good.run_result.stdout
    bad = run(server, code.format("b\n"), language="pytest", files=files, run_timeout=30)
    assert (bad.status, bad.run_result.return_code) == (sandbox_fusion.RunStatus.Failed, 1)
    assert "1 failed" in bad.run_result.stdout


# ---- cells --------------------------------------------------------------------------------------


def cells(server, *codes: str, **more):
    request = sandbox_fusion.RunJupyterRequest(cells=list(codes), **more)
    endpoint = server.origin.replace("://", f"://judge:{KEY}@")
    return sandbox_fusion.run_jupyter(request, endpoint=endpoint, max_attempts=1)


def test_cells_share_a_session_and_each_tells_what_it_gave(server):
    answer = cells(
        server, "a = int(open('in').read())", "a", "import sys; print(a, file=sys.stderr)", "a / 0",
        "open('out', 'w').write('o'); print(a)",
        files={"in": base64.b64encode(b"7").decode()}, fetch_files=["out"],
    )  # fmt: skip
    assert answer.status == sandbox_fusion.RunStatus.Success
    assert answer.driver.return_code == 0
    assert answer.cells[0].dict() == {"stdout": "", "stderr": "", "display": [], "error": []}
    assert answer.cells[1].display == [{"text/plain": "7"}]
    assert answer.cells[2].stderr == "7\n"
    (error,) = answer.cells[3].error
    assert (error["ename"], error["evalue"]) == ("ZeroDivisionError", "division by zero")
    assert error["traceback"][-1] == "ZeroDivisionError: division by zero"
    assert answer.cells[4].stdout == "7\n"
    assert answer.files == {"out": base64.b64encode(b"o").decode()}


def test_a_table_is_shown_once_with_its_forms(server):
    (cell,) = cells(server, "import pandas; pandas.DataFrame({'a': [1]})").cells
    (bundle,) = cell.display
    assert {"text/plain", "text/html", "application/json"} <= set(bundle)


def test_a_cell_or_all_cells_may_be_late(server):
    one = cells(server, "while True: pass", "print(2)", cell_timeout=0.3)
    assert one.cells[0].error[0]["ename"] == "limit_exceeded"
    assert one.cells[1].stdout == "2\n"
    all_of_them = cells(server, "print(1)", "while True: pass", "print(3)", total_timeout=1.0)
    assert all_of_them.status == sandbox_fusion.RunStatus.Failed
    assert all_of_them.driver.status == CommandRunStatus.TimeLimitExceeded
    assert [one.stdout for one in all_of_them.cells] == ["1\n", ""]


@pytest.mark.slow
def test_cells_that_give_more_than_an_answer_has_are_not_run_on(server):
    codes = ["import sys\nfor out in (sys.stdout, sys.stderr): out.write('x' * (1 << 20))"] * 40
    answer = cells(server, *codes, total_timeout=120)
    assert answer.status == sandbox_fusion.RunStatus.Failed
    assert "more than an answer may have" in answer.message
    assert len(answer.cells) == 33


def test_cells_need_a_key_and_a_ping_does_not(server):
    reply = httpx2.post(f"{server.origin}/run_jupyter", json={"cells": ["1"]})
    assert reply.status_code == 401
    assert httpx2.get(f"{server.origin}/v1/ping").json() == "pong"


@pytest.mark.parametrize(
    "authorization",
    [
        "",
        "Basic",
        "Basic ?",
        f"Basic {base64.b64encode(b'judge:wrong').decode()}",
        f"Basic {base64.b64encode(KEY.encode()).decode()}",
        f"Digest {KEY}",
    ],
)
def test_without_a_key_nothing_runs(server, authorization):
    reply = httpx2.post(
        f"{server.origin}/run_code", json={"code": "1", "language": "python"},
        headers={"authorization": authorization} if authorization else {},
    )  # fmt: skip
    assert reply.status_code == 401


def test_a_request_that_is_none_is_refused_by_field(server):
    reply = httpx2.post(
        f"{server.origin}/run_code", json={"language": "python"},
        headers={"authorization": f"Bearer {KEY}"},
    )  # fmt: skip
    assert reply.status_code == 400
    assert reply.json()["error"]["param"] == "code"


def test_a_key_that_asks_too_often_gets_504_which_its_client_waits_out():
    keys = (KeySettings(key=KEY, requests_per_minute=60, concurrent_requests=1),)
    body = {"code": "import time; time.sleep(1)\nprint(1)", "language": "python"}
    with serving(directory(TalkModel({})), config(keys=keys)) as server:
        headers = {"authorization": f"Bearer {KEY}"}
        with (
            httpx2.Client(base_url=server.origin, headers=headers, timeout=30) as http,
            ThreadPoolExecutor(3) as pool,
        ):
            replies = list(pool.map(lambda _: http.post("/run_code", json=body), range(3)))
        assert sorted(reply.status_code for reply in replies)[-1] == 504
        late = next(reply for reply in replies if reply.status_code == 504)
        assert late.headers["retry-after"] == "1"
        assert "at once" in late.json()["detail"]

        def ask(_number: int) -> str:
            request = sandbox_fusion.RunCodeRequest(code="print(1)", language="python")
            endpoint = server.origin.replace("://", f"://judge:{KEY}@")
            answer = sandbox_fusion.run_code(request, endpoint=endpoint, max_attempts=8)
            return answer.run_result.stdout

        with ThreadPoolExecutor(3) as pool:
            assert list(pool.map(ask, range(3))) == ["1\n"] * 3


def test_the_end_of_a_program_is_what_a_shell_would_say(server):
    for code, return_code, words in (
        ("import sys; sys.exit('why')", 1, "why\n"),
        ("import sys; sys.exit('3')", 1, "3\n"),
        ("import sys; sys.exit(257)", 1, ""),
        ("import sys; sys.exit('\u00b2')", 1, "\u00b2\n"),
        ("import sys; sys.exit(-1)", 255, ""),
        ("import os; os.kill(os.getpid(), 9)", 137, "Killed\n"),
    ):
        answer = run(server, code)
        result = answer.run_result
        assert answer.status == sandbox_fusion.RunStatus.Failed
        assert (result.return_code, result.stderr) == (return_code, words)
