"""What a hostile session tries at the doors that were added to it: programs, functions, values."""

import asyncio
import json
import os
import time
from collections.abc import AsyncIterator

import pytest

from benchmarks.hostile import CHANNEL
from sandbox import AsyncSandbox, Limits, Policy, SandboxError, ValueNotCarried
from sandbox.session import host_tools
from tests.jail.corpus import Tier

MiB = 1024 * 1024


@pytest.fixture
async def box(tier: Tier) -> AsyncIterator[AsyncSandbox]:
    async with AsyncSandbox(Policy(tier=tier, limits=Limits(wall_s=20)), pool_size=0) as opened:
        yield opened


# ---- programs -----------------------------------------------------------------------------------

PROGRAM = r"""
import ctypes, os, resource, signal, socket
def outcome(work):
    try:
        return str(work())
    except OSError as error:
        return type(error).__name__
found = {
    "signal init": outcome(lambda: os.kill(1, 9) if os.getpid() != 1 else None),
    "signal the parent": outcome(lambda: os.kill(os.getppid(), 9)),
    "signal the host": outcome(lambda: os.kill(HOST, 2)),
    "slow the parent": outcome(lambda: os.setpriority(os.PRIO_PROCESS, os.getppid(), 19)),
    "limit the parent": outcome(
        lambda: resource.prlimit(os.getppid(), resource.RLIMIT_NOFILE, (1, 1))
    ),
    "trace the parent": str(ctypes.CDLL(None).ptrace(16, os.getppid(), 0, 0)),
    "read the host": outcome(lambda: open("/etc/shadow").read()),
    "a namespace": outcome(lambda: os.unshare(0x10000000) if hasattr(os, "unshare") else
                           (_ for _ in ()).throw(OSError()) if
                           ctypes.CDLL(None).unshare(0x10000000) else "entered"),
    "a packet": outcome(lambda: socket.create_connection(("203.0.113.1", 80), 1)),
    "descriptors": [fd for fd in range(3, 64) if outcome(lambda: os.fstat(fd)) != "OSError"],
}
print(found)
"""
REFUSED = ("PermissionError", "ProcessLookupError", "OSError", "-1", "None")


async def test_a_program_beside_the_interpreter_reaches_neither_init_nor_the_host(
    box: AsyncSandbox,
) -> None:
    async with box.session() as session, box.session() as neighbour:
        await session.run("x = 1")
        code = PROGRAM.replace("HOST", str(os.getpid()))
        result = await session.exec(["python3", "-I", "-c", code])
        assert result.exit_code == 0, result.stderr
        found = eval(result.stdout, {"__builtins__": {}})
        assert found.pop("descriptors") == []
        for what, said in found.items():
            assert said.endswith("Error") or said == "-1", (what, said)
        assert (await session.run("x")).text == "1"
        assert (await neighbour.run("1")).text == "1"


async def test_a_program_cannot_write_on_the_channel_or_take_the_place_of_the_interpreter(
    box: AsyncSandbox,
) -> None:
    """It looks for the session process and signals it: that one may end, by its own session."""
    hunt = r"""
import os, signal
for pid in range(2, 400):
    if pid != os.getpid():
        try: os.kill(pid, signal.SIGKILL)
        except OSError: pass
print("hunted")
"""
    async with box.session() as session, box.session() as neighbour:
        await session.run("x = 1")
        result = await session.exec(["python3", "-I", "-c", hunt])
        assert result.stdout == b"hunted\n"
        try:
            outcome = await session.run("x")
            assert outcome.status in ("completed", "raised", "died")
        except SandboxError:
            pass  # It ended its own session.
        assert (await neighbour.run("1")).text == "1"
    assert (await box.run("1")).text == "1"


async def test_programs_that_fork_and_flood_end_with_their_limits(box: AsyncSandbox) -> None:
    flood = "while :; do echo xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx; done"
    async with box.session() as session, box.session() as neighbour:
        began = time.monotonic()
        result = await session.exec(flood, timeout_s=1.0)
        assert result.timed_out or result.limit == "output_bytes"
        assert len(result.stdout) <= 2 * MiB
        await session.exec("for i in 1 2 3 4 5; do (setsid sleep 300 &) ; done", timeout_s=5.0)
        assert (await neighbour.run("1")).text == "1"
        assert time.monotonic() - began < 60
    assert (await box.run("1")).text == "1"


# ---- functions of the host ----------------------------------------------------------------------

FORGED = (
    CHANNEL
    + r"""
def call(**fields):
    put(packed("ToolCall", **{"id": 1, "name": "add", "arguments": '{"args":[1,2],"kwargs":{}}',
                              **fields}))
"""
)


@pytest.mark.parametrize(
    "code",
    [
        "call(name='other')",
        "call(name='__init__')",
        "call(nonce='x')",
        "for number in range(500):\n"
        "    call(id=number, name='slow', arguments='{\"args\":[],\"kwargs\":{}}')",
        "put(struct.pack('!BI', 44, 3_000_000) + b'{' * 3_000_000)",
    ],
    ids=["unknown", "a method", "another nonce", "flood", "no JSON"],
)
async def test_a_forged_call_ends_its_session_alone(box: AsyncSandbox, code: str) -> None:
    called: list[str] = []

    async def slow() -> None:
        called.append("slow")
        await asyncio.sleep(30)

    tools = {"add": lambda a, b: called.append("add"), "slow": slow}
    async with box.session(tools=tools) as session, box.session() as neighbour:
        outcome = await session.run(FORGED + code)
        assert outcome.status == "died", outcome
        assert [denial.layer for denial in outcome.denials] == ["protocol"]
        assert len(called) <= 64
        assert (await neighbour.run("1")).text == "1"


@pytest.mark.parametrize(
    "arguments",
    [
        "null", "[]", '{"args":1,"kwargs":{}}', '{"args":[],"kwargs":[]}', '{"args":[1],"kwargs":',
        '{"args":[' + "[" * 5000 + "]" * 5000 + '],"kwargs":{}}',
        '{"args":[' + "[]," * 300_000 + '1],"kwargs":{}}',
        '{"args":["x"],"kwargs":{"__class__":1}}',
        '{"args":[1e999,"x"],"kwargs":{}}',
    ],
)  # fmt: skip
async def test_arguments_that_are_none_are_an_error_of_the_call(
    box: AsyncSandbox, arguments: str
) -> None:
    called: list[object] = []

    def add(a: int, b: int) -> int:
        called.append((a, b))
        return a + b

    code = FORGED + f"call(arguments={arguments!r})\ntime.sleep(0.3)\n"
    async with box.session(tools={"add": add}) as session:
        outcome = await session.run(code)
        assert called == []
        assert [call.error is not None for call in outcome.tool_calls] == [True]


async def test_the_same_id_twice_and_answers_that_nobody_reads_take_no_memory(
    box: AsyncSandbox,
) -> None:
    code = (
        FORGED
        + r"""
for number in range(40):
    call(id=7, name="large", arguments='{"args":[],"kwargs":{}}')
time.sleep(1.5)
"""
    )
    async with box.session(tools={"large": lambda: "x" * 1_000_000}) as session:
        await session.run("1")
        guest = session._live.worker.guest  # type: ignore[union-attr]
        running = asyncio.ensure_future(session.run(code))
        unread = 0
        while not running.done():
            unread = max(unread, guest.unsent_bytes)
            await asyncio.sleep(0.005)
        outcome = await running
        assert outcome.status in ("completed", "died"), outcome
        assert 0 < unread < 2 * 1_000_100
    assert (await box.run("1")).text == "1"


async def test_a_snippet_that_never_reads_its_answers_does_not_keep_its_clock_still(
    box: AsyncSandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(host_tools, "UNREAD_WITHIN_S", 0.5)
    code = (
        FORGED
        + """
for number in range(3):
    call(id=number, name="large", arguments='{"args":[],"kwargs":{}}')
time.sleep(15)
"""
    )
    async with box.session(tools={"large": lambda: "x" * 3_000_000}) as session:
        began = time.monotonic()
        outcome = await session.run(code)
        assert outcome.status == "died"
        assert outcome.denials[0].tried == "answers that it does not read"
        assert time.monotonic() - began < 12


async def test_a_result_that_is_no_number_is_described_and_reaches_the_snippet(
    box: AsyncSandbox,
) -> None:
    async with box.session(tools={"nan": lambda: float("nan")}) as session:
        outcome = await session.run("nan()")
        assert outcome.text == "nan"
        assert [call.result for call in outcome.tool_calls] == ["3 characters"]


# ---- values -------------------------------------------------------------------------------------

ANSWERS = r"""
import sys, os
queries = sys.modules["sandbox.guest.exchange.queries"]
Answer = queries.Answer
def forged(text, number, namespace, fd):
    if fd >= 0:
        DATA
    return Answer(BODY)
queries.ANSWERS = {kind: forged for kind in queries.ANSWERS}
"""


@pytest.mark.parametrize(
    "tail", ["'[' * 900_000", "'1' * 900_000", "'{\"a\":' * 9000", "'nonsense'"]
)
async def test_a_forged_answer_is_a_typed_error(box: AsyncSandbox, tail: str) -> None:
    async with box.session() as session, box.session() as neighbour:
        await session.run(ANSWERS.replace("DATA", "pass").replace("BODY", tail))
        for ask in (
            session.variables,
            lambda: session.complete("a"),
            lambda: session.inspect("a"),
            lambda: session.is_complete("a"),
            lambda: session.get_value("a"),
        ):
            with pytest.raises(SandboxError):
                await ask()
        assert (await neighbour.run("1")).text == "1"


@pytest.mark.parametrize("kind", ["json", "npy", "frame", "series", "arrow", "pickle", "", "bytes"])
async def test_a_forged_value_is_refused_or_its_own_bytes(box: AsyncSandbox, kind: str) -> None:
    data = "os.write(fd, b'\\x80\\x04cos\\nsystem\\n(S\"true\"\\ntR.' * 1000)"
    code = ANSWERS.replace("DATA", data).replace("BODY", repr(json.dumps(kind)))
    async with box.session() as session:
        await session.run(code)
        if kind == "bytes":
            assert (await session.get_value("a")).startswith(b"\x80\x04cos")
        else:
            with pytest.raises(ValueNotCarried):
                await session.get_value("a")
        assert session.is_live


async def test_a_value_larger_than_the_session_may_be_is_not_read(tier: Tier) -> None:
    policy = Policy(tier=tier, limits=Limits(memory_bytes=64 * MiB))
    code = ANSWERS.replace("DATA", "os.ftruncate(fd, 1 << 40)").replace("BODY", "'\"bytes\"'")
    async with AsyncSandbox(policy, pool_size=0) as box, box.session() as session:
        await session.run(code)
        with pytest.raises(ValueNotCarried, match=r"File too large|has \d+ bytes"):
            await session.get_value("a")


async def test_a_placeholder_is_all_of_a_secret_that_values_and_programs_see(tier: Tier) -> None:
    if tier == "landlock":
        pytest.skip("this tier has no network, and so no secrets")
    from sandbox import Secret

    policy = Policy(
        tier=tier,
        network=["api.example:443"],
        secrets={"API_KEY": Secret("the-real-value", hosts=["api.example"])},
    )
    async with AsyncSandbox(policy, pool_size=0) as box, box.session() as session:
        await session.run("import os; key = os.environ['API_KEY']; all_of = dict(os.environ)")
        assert (await session.get_value("key")).startswith("cellblock-secret-")
        seen = [
            json.dumps(await session.get_value("all_of")),
            (
                await session.exec("env; cat /proc/*/environ /proc/self/maps 2>/dev/null")
            ).stdout.decode(errors="replace"),
            json.dumps([one._asdict() for one in await session.variables()]),
        ]
        assert not any("the-real-value" in text for text in seen)
