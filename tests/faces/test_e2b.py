"""E2B's own clients against `cellblock serve`, by their URL settings."""

import asyncio
import io
import os
import time
from collections.abc import Iterator

import examples
import pytest

pytest.importorskip("e2b_code_interpreter", reason="pip install e2b-code-interpreter")

from e2b import (
    CommandExitException,
    FileNotFoundException,
    FilesystemEventType,
    InvalidArgumentException,
    NotFoundException,
    PtySize,
    RateLimitException,
    SandboxException,
    SandboxQuery,
    SandboxState,
    TimeoutException,
)
from e2b_code_interpreter import AsyncSandbox, Sandbox
from serving import KEY, Running, TalkModel, config, directory, serving

from runner.config import KeySettings

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def server() -> Iterator[Running]:
    key = KeySettings(key=KEY, sessions=6, requests_per_minute=100_000)
    settings = config(keys=(key,), policy={"limits": {"wall_s": 30}})
    with (
        serving(directory(TalkModel({})), settings) as running,
        pytest.MonkeyPatch.context() as environment,
    ):
        environment.setenv("E2B_API_KEY", KEY)
        environment.setenv("E2B_API_URL", f"{running.origin}/e2b")
        environment.setenv("E2B_SANDBOX_URL", f"{running.origin}/e2b")
        environment.setenv("E2B_HTTP_VERSION", "1.1")
        yield running


@pytest.fixture
def sandbox(server: Running) -> Iterator[Sandbox]:
    made = Sandbox.create(metadata={"test": "faces"}, envs={"FOO": "bar"})
    yield made
    made.kill()


def test_code_runs_with_its_callbacks_and_its_state(sandbox: Sandbox):
    seen: list[str] = []
    ran = sandbox.run_code(
        "import sys\nprint('out')\nprint('err', file=sys.stderr)\nx = 41\nx + 1",
        on_stdout=lambda line: seen.append(line.line),
        on_stderr=lambda line: seen.append(line.line),
        on_result=lambda result: seen.append(result.text),
    )
    assert seen == ["out\n", "err\n", "42"]
    assert (ran.text, ran.execution_count) == ("42", 1)
    assert ran.logs.stdout == ["out\n"]
    failed = sandbox.run_code("x / 0")
    assert (failed.error.name, failed.error.value) == ("ZeroDivisionError", "division by zero")
    assert "x / 0" in failed.error.traceback
    assert failed.execution_count == 2
    assert sandbox.run_code("import os; os.environ['FOO']").text == "bar"
    assert sandbox.run_code("os.environ['FOO']", envs={"FOO": "own"}).text == "own"


def test_results_have_their_types(sandbox: Sandbox):
    shown = sandbox.run_code("import pandas as pd\npd.DataFrame({'a': [1, 2]})").results[0]
    assert {"text", "html", "data"} <= set(shown.formats())
    assert shown.data == {"a": [1, 2]}
    plot = "import matplotlib.pyplot as plt\nplt.plot([1, 2])\nplt.show()\n'done'"
    results = sandbox.run_code(plot).results
    assert [bool(one.png) for one in results] == [True, False]
    assert [one.is_main_result for one in results] == [False, True]
    assert results[0].chart.elements[0].points == [(0.0, 1.0), (1.0, 2.0)]


def test_what_takes_too_long_ends_and_the_next_runs(sandbox: Sandbox):
    with pytest.raises(TimeoutException):
        sandbox.run_code("import time\nwhile True: time.sleep(0.1)", timeout=1)
    assert sandbox.run_code("1 + 1", timeout=10).text == "2"
    with pytest.raises(SandboxException, match="'javascript' has no kernel"):
        sandbox.run_code("1", language="javascript")


def test_contexts_have_variables_of_their_own(sandbox: Sandbox):
    sandbox.run_code("x = 1")
    context = sandbox.create_code_context()
    assert sandbox.run_code("x", context=context).error.name == "NameError"
    sandbox.run_code("x = 2", context=context)
    assert sandbox.run_code("x").text == "1"
    assert context.id in [one.id for one in sandbox.list_code_contexts()]
    sandbox.restart_code_context(context)
    assert sandbox.run_code("x", context=context).error.name == "NameError"
    sandbox.remove_code_context(context)
    with pytest.raises(NotFoundException):
        sandbox.run_code("x", context=context)


def test_files_are_written_read_listed_moved_and_watched(sandbox: Sandbox):
    files = sandbox.files
    assert files.write("a/b.txt", "text").path == "/home/user/a/b.txt"
    assert files.read("a/b.txt") == "text"
    assert bytes(files.read("a/b.txt", format="bytes")) == b"text"
    big = b"0123456789" * 300_000
    files.write("big.bin", io.BytesIO(big))
    with files.read("big.bin", format="stream") as stream:
        assert b"".join(stream) == big
    files.write_files([{"path": f"many/{n}", "data": str(n)} for n in range(5)], gzip=True)
    many = [{"path": f"many/{n}", "data": str(n)} for n in range(5, 9)]
    files.write_files(many)
    assert [one.name for one in files.list("many")] == [str(n) for n in range(9)]
    info = files.get_info("a/b.txt")
    assert (info.size, info.owner, info.permissions) == (4, "user", "-rw-r--r--")
    watcher = files.watch_dir("a")
    files.write("a/c.txt", "new")
    kinds = {(event.type, event.name) for event in watcher.get_new_events()}
    assert (FilesystemEventType.CREATE, "c.txt") in kinds
    watcher.stop()
    assert files.rename("a/c.txt", "d/e.txt").path == "/home/user/d/e.txt"
    assert not files.exists("a/c.txt")
    assert (files.make_dir("new"), files.make_dir("new")) == (True, False)
    files.remove("d")
    with pytest.raises(FileNotFoundException):
        files.read("d/e.txt")
    assert sandbox.run_code("open('a/b.txt').read()").text == "text"


def test_commands_run_in_the_foreground_and_beside(sandbox: Sandbox):
    seen: list[str] = []
    ran = sandbox.commands.run("echo $FOO; pwd", on_stdout=seen.append)
    assert (ran.exit_code, ran.stdout) == (0, "bar\n/home/user\n")
    assert "".join(seen) == ran.stdout
    with pytest.raises(CommandExitException) as failed:
        sandbox.commands.run("echo why >&2; exit 3", cwd="/tmp", envs={"A": "1"})
    assert (failed.value.exit_code, failed.value.stderr) == (3, "why\n")
    with pytest.raises(TimeoutException):
        sandbox.commands.run("sleep 60", timeout=1)
    handle = sandbox.commands.run("cat", background=True, stdin=True)
    assert handle.pid in [one.pid for one in sandbox.commands.list()]
    handle.send_stdin("one ")
    sandbox.commands.stream_input(handle.pid, ["two", " three"])
    handle.close_stdin()
    assert handle.wait().stdout == "one two three"
    beside = sandbox.commands.run("sleep 60", background=True)
    joined = sandbox.commands.connect(beside.pid)
    assert joined.kill() is True
    assert sandbox.commands.kill(beside.pid) is False
    with pytest.raises(InvalidArgumentException, match="no user 'root'"):
        sandbox.commands.run("id", user="root")
    with pytest.raises(SandboxException, match="no pseudo-terminals"):
        sandbox.pty.create(PtySize(rows=24, cols=80))


def test_a_sandbox_is_listed_paused_forked_and_kept(sandbox: Sandbox):
    query = SandboxQuery(metadata={"test": "faces"}, state=[SandboxState.RUNNING])
    assert sandbox.sandbox_id in [one.sandbox_id for one in Sandbox.list(query).next_items()]
    sandbox.run_code("x = [1]")
    sandbox.pause()
    assert not sandbox.is_running()
    again = Sandbox.connect(sandbox.sandbox_id, timeout=120)
    assert again.is_running()
    [fork] = again.fork()
    assert isinstance(fork, Sandbox)
    fork.run_code("x.append(2)")
    assert (fork.run_code("x").text, again.run_code("x").text) == ("[1, 2]", "[1]")
    snapshot = again.create_snapshot()
    made = Sandbox.create(snapshot.snapshot_id)
    assert made.run_code("x").text == "[1]"
    assert Sandbox.delete_snapshot(snapshot.snapshot_id)
    assert again.get_metrics()[0].mem_used > 0
    assert (again.get_info().metadata, again.get_info().state) == ({"test": "faces"}, "running")
    for one in (fork, made):
        assert one.kill()


def test_the_keys_sessions_are_bounded(server: Running):
    made = [Sandbox.create() for _ in range(6)]
    try:
        with pytest.raises(RateLimitException, match="6 sessions at once"):
            Sandbox.create()
    finally:
        assert all(one.kill() for one in made)


async def test_the_asynchronous_client_does_the_same(server: Running):
    sandbox = await AsyncSandbox.create()
    try:
        assert (await sandbox.run_code("6 * 7")).text == "42"
        seen: list[str] = []
        await sandbox.files.make_dir("live")
        watcher = await sandbox.files.watch_dir("live", on_event=lambda one: seen.append(one.name))
        await sandbox.files.write("live/a.txt", b"a")
        deadline = time.monotonic() + 10
        while "a.txt" not in seen and time.monotonic() < deadline:
            await asyncio.sleep(0.05)
        assert "a.txt" in seen
        await watcher.stop()
        ran = await sandbox.commands.run("cat live/a.txt")
        assert ran.stdout == "a"
    finally:
        await sandbox.kill()


def test_the_example_of_the_document_prints_what_it_says(server: Running):
    assert os.environ["E2B_API_URL"].endswith("/e2b")
    examples.check("E2B")
