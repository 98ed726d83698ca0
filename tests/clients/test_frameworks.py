"""Frameworks by their documented ways: a function of the client's beside the interpreter.

They are installed apart, in seconds, and kept below `.venv`; without a network their tests are
skipped. Each asks the server twice, for the client's function stands between two of its rounds.
"""

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

import httpx2
import pytest
from serving import KEY, MODEL, directory, serving
from talking import POWER

from runner.models.openai_compatible import Endpoint, OpenAICompatible

FOLDER = Path(__file__).parent / "frameworks"
INSTALL_S, TALK_S = 240, 120
REMEDY = "needs an index to install from. Run: make test-clients, with a network"

pytestmark = pytest.mark.slow


def upstream(request):
    """A model that runs code, then calls the client's function, then says what both gave."""
    results = [
        str(message["content"])
        for message in json.loads(request.content)["messages"]
        if message["role"] == "tool"
    ]
    if any("21 degrees" in result for result in results):
        text = f"Paris has 21 degrees, and the power is {results[0].strip()}."
        parts: list[dict[str, object]] = [{"content": text[:9]}, {"content": text[9:]}]
    elif results:
        parts = [called("get_weather", {"city": "Paris"})]
    else:
        parts = [called("code_interpreter", {"code": "123**21"})]
    finish = "stop" if "content" in parts[0] else "tool_calls"
    chunks = [{"choices": [{"index": 0, "delta": part}]} for part in parts]
    chunks.append({"choices": [{"index": 0, "delta": {}, "finish_reason": finish}]})
    chunks.append({"choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": 3}})
    lines = [f"data: {json.dumps(chunk)}\n\n" for chunk in chunks]
    return httpx2.Response(200, text="".join([*lines, "data: [DONE]\n\n"]))


def called(name: str, arguments: dict[str, object]) -> dict[str, object]:
    function = {"name": name, "arguments": json.dumps(arguments)}
    return {"tool_calls": [{"index": 0, "id": f"call_{name}", "function": function}]}


@pytest.fixture(scope="module")
def server():
    endpoint = Endpoint(url="http://upstream.test/v1", retries=0)
    model = OpenAICompatible(endpoint, transport=httpx2.MockTransport(upstream))
    with serving(directory(model)) as running:
        yield running


@pytest.fixture(scope="module")
def python() -> str:
    """The interpreter of an environment that has the Python frameworks."""
    place = _place("requirements.txt")
    found = place / "bin" / "python"

    def install(fresh: Path) -> None:
        requirements = str(FOLDER / "requirements.txt")
        if shutil.which("uv"):
            _run(["uv", "venv", "--quiet", "--python", sys.executable, str(fresh)])
            target = ["--python", str(fresh / "bin" / "python")]
            _run(["uv", "pip", "install", "--quiet", *target, "-r", requirements])
        else:
            _run([sys.executable, "-m", "venv", str(fresh)])
            pip = [str(fresh / "bin" / "python"), "-m", "pip", "install", "--quiet"]
            _run([*pip, "-r", requirements])

    _install(place, install)
    return str(found)


@pytest.fixture(scope="module")
def node() -> Path:
    """A folder in which node finds the AI SDK."""
    if not (shutil.which("node") and shutil.which("npm")):
        _missing("node and npm are not installed. Run: apt-get install nodejs npm")
    place = _place("package.json")

    def install(fresh: Path) -> None:
        fresh.mkdir()
        shutil.copy(FOLDER / "package.json", fresh)
        _run(["npm", "install", "--no-audit", "--no-fund", "--silent", "--prefix", str(fresh)])

    _install(place, install)
    shutil.copy(FOLDER / "talk.mjs", place)
    return place


def _place(what: str) -> Path:
    """Return where an environment is kept: by the content of the file that it is made from."""
    digest = hashlib.sha256((FOLDER / what).read_bytes()).hexdigest()
    return Path(sys.prefix) / "frameworks" / f"{what.partition('.')[0]}-{digest[:12]}"


def _install(place: Path, install: Callable[[Path], None]) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    with open(place.with_suffix(".lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # Two test processes may want it at the same time.
        done = place / ".installed"
        if done.exists():
            return
        shutil.rmtree(place, ignore_errors=True)
        try:
            install(place)
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
            _missing(f"{Path(error.cmd[0]).name} failed; the framework {REMEDY}")
        done.touch()


def _missing(reason: str) -> NoReturn:
    if os.environ.get("CELLBLOCK_FRAMEWORKS") == "required":
        pytest.fail(reason)
    pytest.skip(reason)


def _run(command: Sequence[str]) -> None:
    subprocess.run(command, check=True, timeout=INSTALL_S, stdin=subprocess.DEVNULL)


def _said(command: Sequence[str], folder: Path) -> object:
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=TALK_S,
        env={name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads(done.stdout.splitlines()[-1])


RIGHT = {"answer": f"Paris has 21 degrees, and the power is {POWER}.", "asked": ["Paris"]}


@pytest.mark.parametrize("how", ["whole", "streamed"])
@pytest.mark.parametrize("name", ["openai_agents", "langchain", "pydantic_ai", "litellm"])
def test_a_function_of_the_client_stands_beside_the_interpreter(server, python, name, how):
    command = [python, "talk.py", name, how, server.origin, KEY, MODEL]
    assert _said(command, FOLDER) == RIGHT


@pytest.mark.parametrize("how", ["whole", "streamed"])
def test_the_same_with_the_ai_sdk(server, node, how):
    assert _said(["node", "talk.mjs", how, server.origin, KEY, MODEL], node) == RIGHT
