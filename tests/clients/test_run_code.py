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
    with pytest.raises(Exception, match="not supported"):
        run(server, "int main() {}", language="cpp")


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
