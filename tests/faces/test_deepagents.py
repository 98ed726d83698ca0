"""deepagents' sandbox backend, by the suite of `langchain-tests`; LangChain's tool."""

from collections.abc import Iterator

import pytest

pytest.importorskip("deepagents", reason="deepagents is installed apart. Run: make test-faces")

import examples
from langchain_core.tools import ToolException
from langchain_tests.integration_tests import SandboxIntegrationTests

from runner.faces.deepagents import CellblockSandbox
from runner.faces.langchain import python_tool
from sandbox import Completed, Limits, Policy, Sandbox, Session

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:Class-scoped fixtures:pytest.PytestRemovedIn10Warning"),
]

# Of langchain-tests 1.1.9 against deepagents 0.7.32: the same fail with a backend on subprocess.
OLDER_THAN_THE_PACKAGE = {
    "test_write_existing_file_fails": "write replaces a file since",
    **dict.fromkeys(
        (
            "test_glob",
            "test_glob_basic_pattern",
            "test_glob_with_directories",
            "test_glob_hidden_files_explicitly",
            "test_glob_with_character_class",
            "test_glob_with_question_mark",
        ),
        "glob gives absolute paths since",
    ),
}


class TestStandard(SandboxIntegrationTests):
    @pytest.fixture(scope="class")
    def sandbox(self) -> Iterator[CellblockSandbox]:
        with Sandbox() as box, box.session() as session:
            yield CellblockSandbox(session)

    @pytest.fixture(autouse=True)
    def known(self, request: pytest.FixtureRequest) -> None:
        if reason := OLDER_THAN_THE_PACKAGE.get(request.node.name):
            request.applymarker(pytest.mark.xfail(reason=reason, strict=True))


@pytest.fixture(scope="module")
def session() -> Iterator[Session]:
    with Sandbox(Policy(limits=Limits(wall_s=5))) as box, box.session() as session:
        yield session


def test_a_command_ends_at_its_time_with_the_status_of_timeout(session: Session):
    answer = CellblockSandbox(session).execute("echo begun; sleep 60", timeout=1)
    assert answer.exit_code == 124
    assert answer.output == "begun\n\nEnded after 1 s, its limit."


def test_streams_come_as_one_in_their_order(session: Session):
    answer = CellblockSandbox(session).execute("echo a; echo b >&2; echo c; exit 3")
    assert (answer.output, answer.exit_code, answer.truncated) == ("a\nb\nc\n", 3, False)


def test_a_command_may_be_longer_than_an_argument(session: Session):
    backend = CellblockSandbox(session)
    answer = backend.execute(f"cat <<'END' | wc -c\n{'x' * 300_000}\nEND\n")
    assert (answer.output.strip(), answer.exit_code) == ("300001", 0)
    assert ".command" not in backend.execute("ls -A /tmp").output


def test_a_signal_is_told_as_a_shell_tells_it(session: Session):
    assert CellblockSandbox(session).execute("kill -TERM $$").exit_code == 143


def test_a_file_outside_of_what_a_session_may_write_to_is_not_permitted(session: Session):
    (answer,) = CellblockSandbox(session).upload_files([("/usr/bin/new", b"x")])
    assert answer.error == "permission_denied"


def test_a_long_output_is_left_in_a_file_and_shown_in_part(session: Session):
    backend = CellblockSandbox(session)
    shown = backend.execute_with_offload("seq 100000", "/mnt/data/out.txt", max_inline_bytes=10_000)
    assert shown.offloaded
    assert shown.response.exit_code == 0
    assert len(shown.response.output) < 20_000
    (kept,) = backend.download_files(["/mnt/data/out.txt"])
    assert kept.content is not None
    assert kept.content.splitlines()[-1] == b"100000"


def test_a_tool_keeps_variables_and_hands_on_the_outcome(session: Session):
    tool = python_tool(session)
    tool.invoke({"code": "x = 20"})
    call = {"name": tool.name, "args": {"code": "x + 1"}, "id": "1", "type": "tool_call"}
    message = tool.invoke(call)
    assert "21" in message.content
    assert isinstance(message.artifact, Completed)
    assert message.artifact.text == "21"


async def test_a_tool_is_awaited_and_tells_a_model_of_errors(session: Session):
    told = await python_tool(session).ainvoke({"code": "1/0"})
    assert "ZeroDivisionError" in told


def test_a_tool_of_a_closed_session_raises_what_langchain_knows():
    with Sandbox() as box, box.session() as session:
        session.close()
        with pytest.raises(ToolException, match="closed"):
            python_tool(session).invoke({"code": "1"})


@pytest.mark.parametrize("heading", ["deepagents", "LangChain"])
def test_the_example_of_the_document_prints_what_it_says(heading: str):
    examples.check(heading)
