"""`POST /run_code` of the server, by the client that judges and trainers use."""

import base64

import httpx2
import pytest
import sandbox_fusion
from sandbox_fusion.models import CommandRunStatus
from serving import KEY


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
