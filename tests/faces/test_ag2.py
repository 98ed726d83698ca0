"""AG2's sandbox, through the adapters that its tools use."""

from collections.abc import AsyncIterator
from pathlib import PurePosixPath

import examples
import pytest

pytest.importorskip("ag2", reason="ag2 is installed apart. Run: make test-faces")

from ag2.tools import SandboxCodeTool
from ag2.tools.sandbox import CodeAdapter, Sandbox, SandboxFactory

from runner.faces.ag2 import CellblockEnvironment, CellblockSandbox
from sandbox import AsyncSandbox, AsyncSession

pytestmark = pytest.mark.slow


@pytest.fixture
async def session() -> AsyncIterator[AsyncSession]:
    async with AsyncSandbox() as box, box.session() as session:
        yield session


async def test_code_runs_in_the_languages_of_the_adapter(session: AsyncSession):
    environment = CellblockEnvironment(session)
    assert isinstance(environment, SandboxFactory)
    assert SandboxCodeTool(environment) is not None
    adapter = CodeAdapter(environment, languages=("python", "bash"))
    ran = await adapter.run("print(6 * 7)", "python")
    assert (ran.output.strip(), ran.exit_code) == ("42", 0)
    ran = await adapter.run("echo out; echo err >&2; exit 3", "bash")
    assert (ran.output.split(), ran.exit_code) == (["out", "err"], 3)


async def test_a_command_that_takes_too_long_or_is_not_there_has_its_status(session: AsyncSession):
    sandbox = CellblockSandbox(session)
    assert isinstance(sandbox, Sandbox)
    assert (await sandbox.exec(["sleep", "60"], timeout=1)).exit_code == 124
    assert (await sandbox.exec(["no-such-program"])).exit_code == 127


async def test_files_are_put_and_removed_below_the_working_directory(session: AsyncSession):
    sandbox = CellblockSandbox(session)
    await sandbox.put_file(PurePosixPath("a/b.txt"), b"x")
    assert await session.files() == ["a/b.txt"]
    await sandbox.remove_file(PurePosixPath("a/b.txt"))
    assert await session.files() == []
    with pytest.raises(ValueError, match="absolute"):
        await sandbox.put_file(PurePosixPath("/tmp/b.txt"), b"x")


def test_the_example_of_the_document_prints_what_it_says():
    examples.check("AG2")
