"""OpenAI's Agents SDK: the executor of a ShellTool, and sandboxes, as its runner calls them."""

import io
import tarfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, cast

import examples
import pytest

pytest.importorskip("agents", reason="openai-agents is installed apart. Run: make test-faces")

from agents import (
    RunConfig,
    Runner,
    ShellActionRequest,
    ShellCallData,
    ShellCommandRequest,
    ShellTool,
)
from agents.sandbox import (
    Dir,
    LocalSnapshotSpec,
    Manifest,
    SandboxAgent,
    SandboxPathGrant,
    SandboxRunConfig,
    User,
)
from agents.sandbox.capabilities import Shell
from agents.sandbox.entries import File
from agents.sandbox.errors import (
    ConfigurationError,
    ExecTimeoutError,
    ExecTransportError,
    InvalidManifestPathError,
    WorkspaceArchiveReadError,
    WorkspaceArchiveWriteError,
    WorkspaceReadNotFoundError,
)
from agents.sandbox.sandboxes.unix_local import UnixLocalSandboxSessionState
from agents.sandbox.session import BaseSandboxClientOptions, SandboxSessionState
from agents.testing import ScriptedModel, assistant_message, function_call

from runner.faces import openai_agents
from runner.faces.openai_agents import (
    CellblockSandboxClient,
    CellblockSandboxOptions,
    shell_executor,
)
from sandbox import AsyncSandbox, Limits, Policy

pytestmark = pytest.mark.slow


def request(*commands: str, timeout_ms: int | None = None) -> ShellCommandRequest:
    action = ShellActionRequest(list(commands), timeout_ms=timeout_ms)
    return ShellCommandRequest(cast(Any, None), ShellCallData("call_1", action))


async def test_commands_of_a_call_run_in_turn_and_one_that_is_late_is_the_last():
    async with AsyncSandbox() as box, box.session() as session:
        execute = shell_executor(session)
        assert ShellTool(executor=execute).executor is execute
        done = await execute(request("echo a > f; echo out; echo err >&2; exit 3", "cat f"))
        first, second = done.output
        assert (first.stdout, first.stderr, first.exit_code) == ("out\n", "err\n", 3)
        assert (second.stdout, second.status, second.command) == ("a\n", "completed", "cat f")
        done = await execute(request("sleep 60", "echo never", timeout_ms=300))
        assert [one.status for one in done.output] == ["timeout"]


async def test_a_command_of_shell_tool_says_what_is_left_out_of_its_output():
    async with AsyncSandbox() as box, box.session() as session:
        execute = shell_executor(session, shown_chars=1000)
        ran = await execute(request("seq 1 5000; seq 1 5000 >&2"))
    [output] = ran.output
    for text in (output.stdout, output.stderr):
        assert len(text) <= 1000
        assert text.startswith("1\n2\n")
        assert text.endswith("4999\n5000\n")
        assert "characters left out ...]" in text


def test_the_example_of_the_document_prints_what_it_says():
    examples.check("OpenAI Agents SDK")


# ---- sandboxes ----------------------------------------------------------------------------------


@pytest.fixture(params=["namespaces", "landlock"])
async def client(request: pytest.FixtureRequest) -> AsyncIterator[CellblockSandboxClient]:
    async with AsyncSandbox(Policy(tier=request.param)) as box:
        yield CellblockSandboxClient(box)


def archive_of(*members: tuple[tarfile.TarInfo, bytes], mode: Any = "w") -> io.BytesIO:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as archive:
        for member, data in members:
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    buffer.seek(0)
    return buffer


def link(name: str, target: str, kind: bytes = tarfile.SYMTYPE) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, target
    return member


async def test_an_agent_works_in_a_session_which_is_ended_after_the_run(client):
    model = ScriptedModel(
        [
            [function_call("exec_command", {"cmd": "tee b < notes/a.txt"}, call_id="1")],
            [function_call("exec_command", {"cmd": "wc -l b; ls none"}, call_id="2")],
            [assistant_message("done")],
        ]
    )
    agent = SandboxAgent(name="coder", model=model, instructions="Work.", capabilities=[Shell()])
    manifest = Manifest(
        entries={"notes": Dir(children={"a.txt": File(content=b"from the host\n")})}
    )
    config = RunConfig(
        sandbox=SandboxRunConfig(client=client, manifest=manifest), tracing_disabled=True
    )
    result = await Runner.run(agent, "go", run_config=config)
    assert result.final_output == "done"
    first, second = [one.output for one in result.new_items if one.type == "tool_call_output_item"]
    assert "Process exited with code 0" in first
    assert "from the host\n" in first
    assert "Process exited with code 2" in second
    assert "1 b" in second
    assert not client._sessions


async def test_commands_and_files_of_a_session(client):
    session = await client.create(manifest=Manifest(environment={"value": {"COLOUR": "red"}}))
    assert not await session.running()
    async with session:
        assert await session.running()
        done = await session.exec("echo $COLOUR; echo err >&2; exit 3")
        assert (done.stdout, done.stderr, done.exit_code) == (b"red\n", b"err\n", 3)
        await session.write(Path("deep/a.bin"), io.BytesIO(b"\0\1\2" * 1000))
        with await session.read(Path("deep/a.bin")) as content:
            assert content.read() == b"\0\1\2" * 1000
        assert await session.read_bounded(Path("deep/a.bin"), max_bytes=4) == b"\0\1\2\0"
        await session.mkdir("other/one", parents=True)
        assert sorted(Path(one.path).name for one in await session.ls(".")) == ["deep", "other"]
        await session.mv("deep/a.bin", "other/b.bin")
        await session.rm("deep", recursive=True)
        patched = await session.apply_patch(
            {"type": "create_file", "path": "new.txt", "diff": "+one\n+two\n"}
        )
        assert patched
        assert (await session.exec("cat new.txt")).stdout.split() == [b"one", b"two"]
        with pytest.raises(WorkspaceReadNotFoundError):
            await session.read(Path("deep/a.bin"))
        with pytest.raises(ExecTimeoutError):
            await session.exec("sleep 60", timeout=0.3)
    assert not await session.running()
    await client.delete(session)
    with pytest.raises(ExecTransportError):
        await session.exec("true")


async def test_output_that_is_left_out_is_told():
    limits = Limits(kept_bytes=1000, output_bytes=100_000)
    async with (
        AsyncSandbox(Policy(limits=limits)) as box,
        await CellblockSandboxClient(box).create() as session,
    ):
        done = await session.exec("head -c 50000 /dev/zero; echo why >&2; exit 4")
        assert done.exit_code == 4
        assert done.stderr == (
            b"why\n[49000 bytes were left out of the middle. Write to a file to have all.]\n"
        )
        done = await session.exec("yes")  # Never ends before its kill.
        assert done.exit_code == 137
        assert b"[Ended: more than output_bytes allows.]\n" in done.stderr
        await session.exec("mkdir d; cd d; seq 1000 | xargs touch")
        with pytest.raises(ExecTransportError, match="too many entries"):
            await session.ls("d")


async def test_what_leads_out_of_the_workspace_is_refused(client):
    async with await client.create() as session:
        for path in ("/etc/passwd", "../etc/passwd", "/mnt/data/../../etc/passwd"):
            with pytest.raises(InvalidManifestPathError):
                await session.read(Path(path))
            with pytest.raises(InvalidManifestPathError):
                await session.write(Path(path), io.BytesIO(b"x"))
        await session.exec("ln -s /etc/passwd out; ln -s /tmp dir")
        with pytest.raises(WorkspaceArchiveReadError):
            await session.read(Path("out"))
        with pytest.raises(WorkspaceArchiveWriteError):
            await session.write(Path("dir/file"), io.BytesIO(b"x"))
        for asked in (session.exec("true", user="root"), session.read(Path("out"), user="root")):
            with pytest.raises(ConfigurationError, match="another user"):
                await asked


@pytest.mark.parametrize(
    "manifest",
    [
        Manifest(root="/srv"),
        Manifest(users=[User(name="bob")]),
        Manifest(extra_path_grants=(SandboxPathGrant(path="/opt", read_only=True),)),
    ],
    ids=["root", "users", "grants"],
)
async def test_a_manifest_that_a_session_cannot_have_is_refused(client, manifest):
    with pytest.raises(ConfigurationError):
        await client.create(manifest=manifest)
    assert not client._sessions


async def test_a_workspace_goes_from_session_to_session(client):
    async with await client.create() as one, await client.create() as other:
        await one.exec("mkdir -p d/e; echo x > d/f; chmod 750 d/f; ln -s d/f l; ln -s /usr abs")
        await one.exec("ln d/f hard; mkfifo pipe; mkdir scratch; echo no > scratch/g")
        one.register_persist_workspace_skip_path("scratch")
        with await one.persist_workspace() as archive:
            await other.hydrate_workspace(archive)
        done = await other.exec(
            "find . | sort | tr '\\n' ' '; cat l hard; readlink abs; stat -c %a d/f"
        )
        assert done.stdout.decode() == (". ./abs ./d ./d/e ./d/f ./hard ./l x\nx\n/usr\n750\n"), (
            done.stderr
        )
        assert (await one.exec("ls -A $TMPDIR | grep tar")).stdout == b""


@pytest.mark.parametrize(
    ("archive", "reason"),
    [
        (archive_of((tarfile.TarInfo("../up"), b"x")), "parent traversal"),
        (archive_of((tarfile.TarInfo("/tmp/abs"), b"x")), "absolute path"),
        (archive_of((link("l", "/tmp"), b""), (tarfile.TarInfo("l/f"), b"x")), "symlink"),
        (archive_of((link("h", "/etc/passwd", tarfile.LNKTYPE), b"")), "hardlink"),
        (archive_of((link("dev", "", tarfile.CHRTYPE), b"")), "unsupported"),
        (archive_of((tarfile.TarInfo("f"), b"x"), mode="w:gz"), "header"),
        (io.BytesIO(b"x" * 5000), "invalid header"),
        (io.StringIO("text"), "not bytes"),
    ],
    ids=["up", "absolute", "through-link", "hardlink", "device", "compressed", "junk", "text"],
)
async def test_an_archive_that_is_not_safe_is_refused_whole(client, archive, reason):
    async with await client.create() as session:
        archive.seek(0)
        with pytest.raises(WorkspaceArchiveWriteError, match=reason):
            await session.hydrate_workspace(archive)
        assert (await session.exec("ls -A")).stdout == b""


async def test_an_archive_of_too_much_is_refused(client, monkeypatch):
    monkeypatch.setattr(openai_agents, "ARCHIVE_MEMBERS", 2)
    members = [(tarfile.TarInfo(f"f{index}"), b"x") for index in range(3)]
    async with await client.create() as session:
        with pytest.raises(WorkspaceArchiveWriteError, match="more than 2 members"):
            await session.hydrate_workspace(archive_of(*members))
        monkeypatch.setattr(openai_agents, "ARCHIVE_BYTES", 1000)
        with pytest.raises(WorkspaceArchiveWriteError, match="more than 1000 bytes"):
            await session.hydrate_workspace(archive_of(*members))
        # A link that the session put there itself leads nowhere else.
        await session.exec("ln -s /tmp out")
        monkeypatch.setattr(openai_agents, "ARCHIVE_BYTES", 1_000_000)
        with pytest.raises(WorkspaceArchiveWriteError, match="outside"):
            await session.hydrate_workspace(archive_of((tarfile.TarInfo("out/f"), b"x")))


async def test_a_disk_that_is_full_is_told():
    async with AsyncSandbox(Policy(limits=Limits(workspace_bytes=2**20))) as box:
        client = CellblockSandboxClient(box)
        async with await client.create() as session:
            with pytest.raises(WorkspaceArchiveWriteError):
                await session.write(Path("f"), io.BytesIO(bytes(2_000_000)))
            with pytest.raises(WorkspaceArchiveWriteError, match=r"/mnt/data: OSError: \[Errno"):
                await session.hydrate_workspace(
                    archive_of((tarfile.TarInfo("f"), bytes(2_000_000)))
                )


async def test_a_state_finds_its_session_or_its_snapshot(client, tmp_path):
    snapshot = LocalSnapshotSpec(base_path=tmp_path)
    session = await client.create(snapshot=snapshot)
    async with session:
        await session.exec("echo kept > f; echo gone > $TMPDIR/g")
    payload = client.serialize_session_state(session.state)
    assert payload["type"] == "cellblock"
    again = await client.resume(client.deserialize_session_state(dict(payload)))
    async with again:
        assert (await again.exec("cat f $TMPDIR/g")).stdout == b"kept\ngone\n"
    await client.delete(again)
    fresh = await client.resume(SandboxSessionState.parse(dict(payload)))
    async with fresh:
        assert (await fresh.exec("cat f; ls $TMPDIR/g")).stdout == b"kept\n"
    await client.delete(fresh)
    assert not client._sessions
    with pytest.raises(TypeError):
        await client.resume(
            UnixLocalSandboxSessionState.model_validate({**payload, "type": "unix_local"})
        )
    assert BaseSandboxClientOptions.parse({"type": "cellblock"}) == CellblockSandboxOptions()
