"""smolagents' executor: a `CodeAgent` with a scripted model, tools on the host, answers."""

from collections.abc import Iterator

import examples
import pytest

pytest.importorskip("smolagents", reason="smolagents is installed apart. Run: make test-faces")

from smolagents import CodeAgent, FinalAnswerTool, Model, tool
from smolagents.local_python_executor import InterpreterError
from smolagents.models import ChatMessage, MessageRole
from smolagents.serialization import SerializationError

from runner.faces.smolagents import CellblockExecutor
from sandbox import Limits, Policy, Sandbox, Session

pytestmark = pytest.mark.slow


class Scripted(Model):
    """Says one text after the other."""

    def __init__(self, *texts: str) -> None:
        super().__init__(model_id="scripted")
        self.texts = list(texts)
        self.asked: list[str] = []

    def generate(self, messages, **_kwargs) -> ChatMessage:
        self.asked.append(str(messages[-1].content))
        return ChatMessage(role=MessageRole.ASSISTANT, content=self.texts.pop(0))


def code(text: str) -> str:
    return f"Run it.\n<code>\n{text}\n</code>"


@tool
def weather(city: str, days: int = 1) -> str:
    """Tell the weather.

    Args:
        city: Where.
        days: For how long.
    """
    return f"{city} {days}: 21 degrees"


@pytest.fixture(scope="module")
def session() -> Iterator[Session]:
    with Sandbox(Policy(limits=Limits(wall_s=20))) as box, box.session() as session:
        yield session


@pytest.fixture
def executor(session: Session) -> CellblockExecutor:
    executor = CellblockExecutor(session)
    executor.send_tools({"weather": weather, "final_answer": FinalAnswerTool()})
    return executor


def test_an_agent_keeps_variables_calls_tools_and_answers(session: Session):
    model = Scripted(
        code("found = weather('Paris', days=3)\nprint(found)"), code("final_answer([found, 2])")
    )
    agent = CodeAgent(tools=[weather], model=model, executor=CellblockExecutor(session))
    assert agent.run("What is the weather?") == ["Paris 3: 21 degrees", 2]
    assert "Paris 3: 21 degrees" in model.asked[1]


def test_a_model_is_told_of_an_error_and_of_what_was_printed(session: Session):
    model = Scripted(code("print('so far')\n1/0"), code("final_answer('ok')"))
    agent = CodeAgent(tools=[], model=model, executor=CellblockExecutor(session))
    assert agent.run("Divide.") == "ok"
    assert "ZeroDivisionError" in agent.memory.steps[1].error.message
    assert "so far" in agent.memory.steps[1].observations


def test_the_last_expression_is_the_output(executor: CellblockExecutor):
    given = executor("print('log')\n6 * 7")
    assert (given.output, given.logs, given.is_final_answer) == ("42", "log\n", False)


def test_an_answer_may_have_any_size(executor: CellblockExecutor):
    given = executor("final_answer('x' * 3_000_000)")
    assert given.is_final_answer
    assert given.output == "x" * 3_000_000


def test_no_exception_handler_of_a_snippet_keeps_the_answer(executor: CellblockExecutor):
    given = executor("try:\n    final_answer({'a': (1, None)})\nexcept Exception:\n    pass")
    assert given.is_final_answer
    assert given.output == {"a": [1, None]}


def test_an_answer_that_is_no_data_is_told_to_the_model(executor: CellblockExecutor):
    with pytest.raises(InterpreterError, match="The answer cannot leave the sandbox"):
        executor("final_answer(lambda: 1)")


def test_an_own_tool_for_answers_has_the_last_word(session: Session):
    class Loud(FinalAnswerTool):
        def forward(self, answer):
            return str(answer).upper()

    executor = CellblockExecutor(session)
    executor.send_tools({"final_answer": Loud()})
    assert executor("final_answer('done')").output == "DONE"


def test_variables_come_in_and_what_is_no_data_is_refused(executor: CellblockExecutor):
    executor.send_variables({"rows": [{"a": 1}], "raw": b"\0"})
    assert executor("rows[0]['a'], raw").output == "(1, b'\\x00')"
    with pytest.raises(SerializationError):
        executor.send_variables({"function": weather})


def test_an_endless_snippet_ends_and_variables_stay(executor: CellblockExecutor):
    executor("kept = 5")
    with pytest.raises(InterpreterError, match="wall_s"):
        CellblockExecutor(executor._session)("while True: pass")
    assert executor("kept").output == "5"


def test_the_example_of_the_document_prints_what_it_says():
    examples.check("smolagents")
