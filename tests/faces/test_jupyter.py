"""The Jupyter kernel: the ecosystem's own tests, and what they leave out."""

import json
import os
import socket
import subprocess
import sys
import tempfile
import time
import uuid

import psutil
import pytest

pytest.importorskip("zmq", reason="pip install 'pyzmq>=26'")
pytest.importorskip("jupyter_kernel_test", reason="pip install jupyter_kernel_test")

from typing import ClassVar

import jupyter_kernel_test
from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.manager import KernelManager, start_new_kernel

from runner.commands.notebook.start import listening_at
from runner.faces.jupyter.history import History
from runner.faces.jupyter.wire import BadMessage, MessageCodec

pytestmark = pytest.mark.slow
WAIT_S = 30


@pytest.fixture(scope="module", autouse=True)
def installed(tmp_path_factory):
    """The kernel, installed by our own command where Jupyter looks."""
    folder = tmp_path_factory.mktemp("jupyter")
    before = {name: os.environ.get(name) for name in ("JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR")}
    os.environ["JUPYTER_DATA_DIR"] = str(folder)
    os.environ["JUPYTER_RUNTIME_DIR"] = str(folder / "runtime")
    command = [sys.executable, "-m", "runner", "kernel", "install"]
    said = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    yield said.stdout
    for name, value in before.items():
        if value is None:
            del os.environ[name]
        else:
            os.environ[name] = value


class TestKernel(jupyter_kernel_test.KernelTests):
    """Everything that its tests can be switched on for."""

    kernel_name = "cellblock"
    language_name = "python"
    file_extension = ".py"
    code_hello_world = "print('hello, world')"
    code_stderr = "import sys; print('test', file=sys.stderr)"
    completion_samples: ClassVar = [
        {"text": "zi", "matches": ["zip"]},
        {"text": "import json; json.JSONDecodeErr"},
    ]
    complete_code_samples: ClassVar = ["1", "print('hello')", "def f(x):\n    return x\n\n"]
    incomplete_code_samples: ClassVar = ["print('''hello", "def f(x):\n    x*2"]
    invalid_code_samples: ClassVar = ["import = 7q"]
    code_generate_error = "raise ValueError('wrong')"
    code_execute_result: ClassVar = [
        {"code": "6*7", "result": "42"},
        {"code": "'a' * 3", "result": "'aaa'"},
        {"code": "[1, 2]", "result": "[1, 2]"},
    ]
    code_display_data: ClassVar = [
        {"code": "from IPython.display import HTML, display; display(HTML('<b>x</b>'))",
         "mime": "text/html"},
    ]  # fmt: skip
    code_history_pattern = "6?7"
    supported_history_operations = ("tail", "range", "search")
    code_inspect_sample = "zip"
    code_page_something = "zip?"
    code_clear_output = (
        "import time; from IPython.display import clear_output\n"
        "display(1); time.sleep(2); clear_output()"
    )


@pytest.fixture
def client(installed):
    manager, started = start_new_kernel(kernel_name="cellblock")
    yield started
    started.stop_channels()
    manager.shutdown_kernel()


def run(client, code: str) -> tuple[dict, list[dict]]:
    """The reply to `code`, and what came of it."""
    shown = []
    reply = client.execute_interactive(
        code, timeout=WAIT_S, output_hook=lambda message: shown.append(message), allow_stdin=False
    )
    return reply["content"], shown


def test_variables_persist_and_the_code_is_in_a_jail(client, tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("of the host")
    run(client, "x = 20")
    _, shown = run(client, "x + 1")
    denied, _ = run(client, "import socket; socket.create_connection(('1.1.1.1', 80), 2)")
    seen, _ = run(client, f"open({str(secret)!r})")
    assert [one["content"]["data"] for one in shown if one["msg_type"] == "execute_result"] == [
        {"text/plain": "21"}
    ]
    assert (denied["status"], seen["status"]) == ("error", "error")
    assert seen["ename"] in ("FileNotFoundError", "PermissionError")


def test_a_cell_asks_its_client_for_input(client):
    message = client.execute("x = input('name? ')\nx * 2", allow_stdin=True)
    question = client.get_stdin_msg(timeout=WAIT_S)
    assert question["content"] == {"prompt": "name? ", "password": False}
    client.input("ab")
    reply = client.get_shell_msg(timeout=WAIT_S)
    assert reply["parent_header"]["msg_id"] == message
    assert reply["content"]["status"] == "ok"
    kept, shown = run(client, "def again():\n    return input()\nx")
    result = next(one for one in shown if one["msg_type"] == "execute_result")
    assert result["content"]["data"] == {"text/plain": "'ab'"}
    refused, _ = run(client, "again()")
    assert (kept["status"], refused["ename"]) == ("ok", "EOFError")
    assert "takes no questions" in refused["evalue"]


def test_a_variable_named_input_is_the_users_own(client):
    client.execute("input = 5", allow_stdin=True)
    client.get_shell_msg(timeout=WAIT_S)
    client.execute("input", allow_stdin=True, user_expressions={"n": "input + 1"})
    reply = client.get_shell_msg(timeout=WAIT_S)["content"]
    assert reply["user_expressions"]["n"]["data"] == {"text/plain": "6"}


def test_an_interrupt_ends_a_cell_that_waits_for_input(installed):
    manager, client = start_new_kernel(kernel_name="cellblock")
    try:
        client.execute("input()", allow_stdin=True)
        client.get_stdin_msg(timeout=WAIT_S)
        manager.interrupt_kernel()
        reply = client.get_shell_msg(timeout=WAIT_S)["content"]
    finally:
        client.stop_channels()
        manager.shutdown_kernel()
    assert (reply["status"], reply["ename"]) == ("error", "KeyboardInterrupt")


def test_a_table_is_one_result_in_several_forms(client):
    code = "import pandas\nframe = pandas.DataFrame({'a': [1]})\ndisplay(frame)\nframe"
    _, shown = run(client, code)
    kinds = [one["msg_type"] for one in shown if "data" in one["content"]]
    assert kinds == ["display_data", "execute_result"]
    assert all("text/html" in one["content"]["data"] for one in shown if "data" in one["content"])
    _, shown = run(client, "display(1)\n1")
    kinds = [one["msg_type"] for one in shown if "data" in one["content"]]
    assert kinds == ["display_data", "execute_result"]


def test_what_the_policy_lacks_is_told_by_the_first_cell(tmp_path):
    policy = tmp_path / "policy.toml"
    policy.write_text("unknown = 1\n")
    manager = KernelManager(kernel_name="cellblock")
    assert manager.kernel_spec is not None
    manager.kernel_spec.argv[-1:-1] = ["--policy", str(policy)]
    manager.start_kernel()
    client = manager.blocking_client()
    client.start_channels()
    try:
        client.wait_for_ready(timeout=WAIT_S)
        reply, _ = run(client, "1")
    finally:
        client.stop_channels()
        manager.shutdown_kernel()
    assert reply["status"] == "error"
    assert "unknown" in reply["evalue"]


def test_a_display_is_replaced_in_its_place(client):
    code = "import time\nh = display(1, display_id=True)\ntime.sleep(2)\nh.update(2)"
    _, shown = run(client, code)
    first, second = (one for one in shown if "display" in one["msg_type"])
    assert (first["msg_type"], second["msg_type"]) == ("display_data", "update_display_data")
    assert first["content"]["transient"] == second["content"]["transient"]
    assert second["content"]["data"] == {"text/plain": "2"}


def test_an_interrupt_ends_a_cell_and_keeps_variables(installed):
    manager, client = start_new_kernel(kernel_name="cellblock")
    try:
        run(client, "x = 1")
        client.execute("import time\nwhile True: time.sleep(0.01)")
        queued = client.execute("x = 2")
        while client.get_iopub_msg(timeout=WAIT_S)["msg_type"] != "execute_input":
            pass
        time.sleep(0.3)
        manager.interrupt_kernel()
        first = client.get_shell_msg(timeout=WAIT_S)["content"]
        second = client.get_shell_msg(timeout=WAIT_S)
        kept, shown = run(client, "x")
    finally:
        client.stop_channels()
        manager.shutdown_kernel()
    assert (first["status"], first["ename"]) == ("error", "KeyboardInterrupt")
    assert second["parent_header"]["msg_id"] == queued
    assert second["content"]["status"] == "aborted"
    assert kept["status"] == "ok"
    assert shown[-2]["content"]["data"]["text/plain"] == "1"


def test_a_restart_is_a_fresh_session(installed):
    manager, client = start_new_kernel(kernel_name="cellblock")
    try:
        run(client, "x = 1")
        manager.restart_kernel(now=False)
        client.wait_for_ready(timeout=WAIT_S)
        reply, _ = run(client, "x")
    finally:
        client.stop_channels()
        manager.shutdown_kernel()
    assert reply["ename"] == "NameError"


CLIENT = """
import sys, time
from jupyter_client.manager import start_new_kernel
manager, client = start_new_kernel(kernel_name="cellblock")
client.execute("x = 1", reply=True, timeout=60)
client.execute("while True: pass" if sys.argv[1] == "busy" else "x")
time.sleep(0.5)
print(manager.provisioner.pid, flush=True)
time.sleep(600)
"""


@pytest.mark.parametrize("state", ["busy", "idle"])
def test_a_kernel_ends_with_all_of_its_own_when_its_client_was_killed(installed, state):
    with subprocess.Popen([sys.executable, "-c", CLIENT, state], stdout=subprocess.PIPE) as client:
        assert client.stdout is not None
        kernel = psutil.Process(int(client.stdout.readline()))
        family = [kernel, *kernel.children(recursive=True)]
        client.kill()
    assert len(family) > 2
    _, alive = psutil.wait_procs(family, timeout=WAIT_S)
    assert alive == []


def test_the_kernel_listens_before_it_is_there_and_leaves_what_it_cannot_read():
    ports = []
    for _ in range(5):
        with socket.socket() as found:
            found.bind(("127.0.0.1", 0))
            ports.append(found.getsockname()[1])
    names = ("shell", "iopub", "control", "stdin", "hb")
    told = {"transport": "tcp", "ip": "127.0.0.1", "key": "k"}
    told |= {f"{name}_port": port for name, port in zip(names, ports, strict=True)}
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        for indent in (None, 2):
            file.seek(0)
            file.truncate()
            json.dump(told, file, indent=indent)
            file.flush()
            found_sockets = listening_at(file.name)
            assert sorted(found_sockets) == sorted(f"tcp://127.0.0.1:{port}" for port in ports)
            for one in found_sockets.values():
                socket.create_connection(one.getsockname(), timeout=5).close()
                one.close()
        for wrong in (
            told | {"ip": "*"},
            told | {"transport": "ipc"},
            {name: "x" if "port" in name else value for name, value in told.items()},
        ):
            file.seek(0)
            file.truncate()
            json.dump(wrong, file)
            file.flush()
            assert listening_at(file.name) == {}
    assert listening_at("/nonexistent") == {}


def test_the_specification_names_the_policy(installed, tmp_path, monkeypatch):
    monkeypatch.setenv("JUPYTER_DATA_DIR", str(tmp_path))
    command = [sys.executable, "-m", "runner", "kernel", "install"]
    options = ["--policy", "agent", "--name", "jailed", "--display-name", "Jailed"]
    subprocess.run([*command, *options], timeout=60, check=True, capture_output=True)
    found = KernelSpecManager(kernel_dirs=[str(tmp_path / "kernels")]).get_kernel_spec("jailed")
    assert found.display_name == "Jailed"
    assert found.interrupt_mode == "message"
    assert found.argv[-3:] == ["--policy", "agent", "{connection_file}"]
    assert "cellblock" in installed


def test_files_of_the_notebooks_folder_are_no_modules_of_the_kernel(installed, tmp_path):
    for name in ("runner", "sandbox", "zmq", "json"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit(3)\n")
    manager, client = start_new_kernel(kernel_name="cellblock", cwd=str(tmp_path))
    try:
        reply, _ = run(client, "1")
    finally:
        client.stop_channels()
        manager.shutdown_kernel()
    assert reply["status"] == "ok"


def test_a_connection_file_that_is_none_is_refused(tmp_path):
    wrong = tmp_path / "kernel.json"
    wrong.write_text(json.dumps({"ip": "127.0.0.1"}))
    command = [sys.executable, "-m", "runner", "kernel", "run", str(wrong)]
    said = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert said.returncode == 2
    assert "is no Jupyter connection file" in said.stderr


def test_messages_without_the_key_change_nothing(installed):
    manager = KernelManager(kernel_name="cellblock")
    manager.start_kernel()
    # A client of the manager would share its session, and with it the key.
    stranger = BlockingKernelClient()
    stranger.load_connection_file(manager.connection_file)
    stranger.session.key = uuid.uuid4().hex.encode()
    stranger.start_channels()
    client = manager.client()
    client.start_channels()
    try:
        client.wait_for_ready(timeout=WAIT_S)
        stranger.execute("x = 1")
        reply, _ = run(client, "x")
    finally:
        stranger.stop_channels()
        client.stop_channels()
        manager.shutdown_kernel()
    assert reply["ename"] == "NameError"


# ---- the wire and the history -------------------------------------------------------------------


def test_a_message_is_read_once_and_only_under_the_key():
    codec = MessageCodec(b"key")
    parts = codec.write("execute_request", {"code": "\ud800"}, {}, [b"one"])
    request = codec.read(parts)
    assert (request.identities, request.kind, request.content["code"]) == (
        (b"one",), "execute_request", "\ud800",
    )  # fmt: skip
    with pytest.raises(BadMessage, match="came before"):
        codec.read(parts)
    with pytest.raises(BadMessage, match="signature"):
        MessageCodec(b"other").read(parts)


@pytest.mark.parametrize(
    ("parts", "reason"),
    [
        ([], "delimiter"),
        ([b"<IDS|MSG>"], "0 of 4"),
        ([b"<IDS|MSG>", b"", b"{}", b"{}", b"{}"], "3 of 4"),
        ([b"<IDS|MSG>", b"", b"{}", b"{}", b"{}", b"{"], "no JSON"),
        ([b"<IDS|MSG>", b"", b"[" * 100_000, b"{}", b"{}", b"{}"], "no JSON"),
        ([b"<IDS|MSG>", b"", b"[]", b"{}", b"{}", b"{}"], "objects"),
        ([b"<IDS|MSG>", b"", b"{}", b"{}", b"{}", b"{}"], "msg_type"),
        ([b""] * 100, "at most"),
    ],
)
def test_what_is_no_message_is_refused(parts, reason):
    with pytest.raises(BadMessage, match=reason):
        MessageCodec(b"").read(parts)


def test_a_history_is_bounded_and_answers_nonsense_with_nothing():
    history = History()
    for number in range(1, 1101):
        history.add(number, f"cell {number % 7}", None)
    assert len(history.find({"hist_access_type": "tail", "n": 5000})) == 1000
    assert history.find({"hist_access_type": "search", "pattern": "*3", "unique": True}) == [
        (1, 1095, "cell 3")
    ]
    assert history.find({"hist_access_type": "range", "start": 200, "stop": 201}) == [
        (1, 200, "cell 4")
    ]
    assert history.find({"hist_access_type": "range", "session": 9}) == []
    assert history.find({"hist_access_type": []}) == []
