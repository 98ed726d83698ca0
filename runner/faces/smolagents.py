"""smolagents: a session as the Python executor of a `CodeAgent`; tools stay on the host.

Source: the package smolagents, `local_python_executor.py` and `agents.py`.
"""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from smolagents.local_python_executor import CodeOutput, InterpreterError, PythonExecutor
from smolagents.serialization import SerializationError

from sandbox import Completed, HostTool, Outcome, Raised, SandboxError, Session, ValueNotCarried

FINAL = "final_answer"
ENDING = "FinalAnswerException"
ANSWER = "_final_answer_"
TOOL_TIMEOUT_S = 600.0
# As in the package, no `except Exception` of a snippet catches it.
FINAL_CODE = f"""
class {ENDING}(BaseException):
    pass

def {FINAL}(*args, **kwargs):
    global {ANSWER}
    {ANSWER} = [list(args), kwargs]
    raise {ENDING}()
"""


class CellblockExecutor(PythonExecutor):
    """Runs what an agent writes in a session, which stays its owner's to close.

    The policy says what may be imported; `additional_authorized_imports` of the agent is only
    what the model is told.
    """

    def __init__(self, session: Session, *, tool_timeout_s: float = TOOL_TIMEOUT_S) -> None:
        """`tool_timeout_s` is for one call of a tool or of a managed agent."""
        self._session = session
        self._tool_timeout_s = tool_timeout_s
        self._tools: dict[str, HostTool] = {}
        self._final: Callable[..., Any] | None = None
        self.state: dict[str, Any] = {}
        """What the package reads of an executor whose snippet failed: what it had printed."""

    def send_tools(self, tools: Mapping[str, Callable[..., Any]]) -> None:
        """Let snippets call `tools`, managed agents among them; they run here, on the host."""
        self._tools = {
            name: HostTool(_function(name, tool), timeout_s=self._tool_timeout_s)
            for name, tool in tools.items()
            if name != FINAL
        }
        self._final = tools.get(FINAL)
        if self._final is not None:
            self._run(FINAL_CODE)

    def send_variables(self, variables: dict[str, Any]) -> None:
        """Set variables in the session. Raises SerializationError for what is not plain data."""
        try:
            self._session.set(**variables)
        except ValueNotCarried as error:
            raise SerializationError(str(error)) from error

    def __call__(self, code_action: str) -> CodeOutput:
        """Run a snippet. Raises InterpreterError, with what the model is to be told."""
        outcome = self._run(code_action)
        logs = outcome.stdout + outcome.stderr
        self.state["_print_outputs"] = logs
        if isinstance(outcome, Completed):
            return CodeOutput(output=outcome.text, logs=logs, is_final_answer=False)
        is_final = isinstance(outcome, Raised) and outcome.error.type == ENDING
        if not is_final or self._final is None:
            raise InterpreterError(outcome.for_model())
        return CodeOutput(output=self._answer(self._final), logs=logs, is_final_answer=True)

    def _run(self, code: str) -> Outcome:
        try:
            return self._session.run(code, tools=self._tools)
        except SandboxError as error:
            raise InterpreterError(str(error)) from error

    def _answer(self, final: Callable[..., Any]) -> Any:
        """The answer as the agent's own tool makes it of what the snippet gave it."""
        try:
            given = self._session.get_value(ANSWER)
        except ValueNotCarried as error:
            raise InterpreterError(
                f"The answer cannot leave the sandbox: {error} Give plain data, bytes, an array or"
                " a table."
            ) from error
        match given:
            case [list() as args, dict() as kwargs]:
                return final(*args, **kwargs)
        raise InterpreterError(f"{FINAL} was not called by the snippet that ended with it.")


def _function(name: str, tool: Callable[..., Any]) -> Callable[..., Any]:
    """`tool` as a function with the parameters that a snippet may give it."""

    def call(*args: Any, **kwargs: Any) -> Any:
        return tool(*args, **kwargs)

    # A tool checks its arguments itself, so the hints of its parameters are left out.
    own = inspect.signature(getattr(tool, "forward", tool))
    plain = [
        one.replace(annotation=inspect.Parameter.empty)
        for one in own.parameters.values()
        if one.name != "self"  # Which the package leaves in that of a decorated function.
    ]
    call.__name__ = name
    call.__doc__ = getattr(tool, "description", None) or inspect.getdoc(tool)
    call.__annotations__ = {}
    call.__signature__ = own.replace(  # type: ignore[attr-defined]
        parameters=plain, return_annotation=inspect.Signature.empty
    )
    return call
