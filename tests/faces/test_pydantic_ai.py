"""Pydantic AI's workspace, by the package's own conformance suite; the toolset."""

from collections.abc import AsyncIterator, Awaitable, Callable

import examples
import pytest

pytest.importorskip("pydantic_ai", reason="pydantic-ai is installed apart. Run: make test-faces")

from pydantic_ai import Agent
from pydantic_ai.messages import ModelResponse, TextPart, ToolCallPart, WorkspaceRef
from pydantic_ai.models.function import FunctionModel
from pydantic_ai.workspaces import WorkspaceBackend, WorkspaceOutputLimitError
from pydantic_ai.workspaces.conformance import WorkspaceBackendSuite

from runner.faces.pydantic_ai import CellblockWorkspaces, python_toolset
from sandbox import AsyncSandbox, Limits, Policy

pytestmark = [pytest.mark.slow, pytest.mark.anyio]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def workspaces() -> AsyncIterator[CellblockWorkspaces]:
    async with AsyncSandbox(Policy(limits=Limits(processes=128))) as box:
        yield CellblockWorkspaces(box)


class TestConformance(WorkspaceBackendSuite):
    @pytest.fixture
    def backend(self, workspaces: CellblockWorkspaces) -> WorkspaceBackend:
        return workspaces.backend()

    @pytest.fixture
    def fresh_backend(self, workspaces: CellblockWorkspaces) -> Callable[[], WorkspaceBackend]:
        return workspaces.backend

    @pytest.fixture
    def attach_backend(
        self, workspaces: CellblockWorkspaces
    ) -> Callable[[WorkspaceRef], WorkspaceBackend]:
        return workspaces.backend

    @pytest.fixture
    def destroy_environment(
        self, workspaces: CellblockWorkspaces
    ) -> Callable[[WorkspaceBackend], Awaitable[None]]:
        async def destroy(backend: WorkspaceBackend) -> None:
            assert backend.ref is not None
            await workspaces.destroy(backend.ref)

        return destroy


async def test_output_that_is_not_whole_is_an_error(workspaces: CellblockWorkspaces):
    with pytest.raises(WorkspaceOutputLimitError, match="1048576 bytes"):
        await workspaces.backend().run(["head", "-c", "3000000", "/dev/zero"])


async def test_a_model_runs_code_that_calls_functions_of_the_host(workspaces: CellblockWorkspaces):
    def weather(city: str) -> str:
        return f"{city} has 21 degrees"

    def script(messages, _info) -> ModelResponse:
        told = [part for part in messages[-1].parts if part.part_kind == "tool-return"]
        if told:
            return ModelResponse([TextPart(told[0].content)])
        return ModelResponse([ToolCallPart("run_python", {"code": "weather(city='Paris')"})])

    async with workspaces.box.session() as session:
        toolset = python_toolset(session, tools={"weather": weather})
        answer = await Agent(FunctionModel(script), toolsets=[toolset]).run("How warm is it?")
    assert "Paris has 21 degrees" in answer.output


def test_the_example_of_the_document_prints_what_it_says():
    examples.check("Pydantic AI")
