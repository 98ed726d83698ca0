"""Inspect AI's sandbox environment, by the package's own `self_check`."""

from collections.abc import AsyncIterator

import examples
import pytest

pytest.importorskip("inspect_ai", reason="inspect-ai is installed apart. Run: make test-faces")

from inspect_ai.util import OutputLimitExceededError, SandboxEnvironment, SandboxUnavailableError
from inspect_ai.util._sandbox.self_check import *  # noqa: F403

from runner.faces.inspect import CellblockSandboxEnvironment

pytestmark = pytest.mark.slow


@pytest.fixture
async def sandbox_env(request: pytest.FixtureRequest) -> AsyncIterator[SandboxEnvironment]:
    if request.node.originalname == "test_exec_as_user":
        reason = "a session has one user"
        request.applymarker(pytest.mark.xfail(reason=reason, strict=True))
    made = await CellblockSandboxEnvironment.sample_init("check", None, {})
    yield made["default"]
    await CellblockSandboxEnvironment.sample_cleanup("check", None, made, False)


async def test_a_system_file_is_read_as_a_command_of_the_session_reads_it(sandbox_env):
    assert "root:" in await sandbox_env.read_file("/etc/passwd")
    with pytest.raises(FileNotFoundError, match="/etc/none"):
        await sandbox_env.read_file("/etc/none")


async def test_output_over_the_limit_names_the_limit(sandbox_env):
    with pytest.raises(OutputLimitExceededError, match="limit of 10 MiB was exceeded"):
        await sandbox_env.exec(["head", "-c", "11000000", "/dev/zero"])


async def test_a_sandbox_that_is_gone_is_unavailable():
    made = await CellblockSandboxEnvironment.sample_init("check", None, {})
    await CellblockSandboxEnvironment.sample_cleanup("check", None, made, False)
    with pytest.raises(SandboxUnavailableError):
        await made["default"].exec(["true"])


def test_the_example_of_the_document_prints_what_it_says():
    examples.check("Inspect AI")
