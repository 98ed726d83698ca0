"""LangChain: a tool that runs Python in a session.

Source: the package langchain-core, `tools/structured.py`.
"""

from typing import Annotated

from langchain_core.tools import StructuredTool, ToolException
from pydantic import BaseModel, Field

from sandbox import Outcome, SandboxError, Session

NAME = "python"
DESCRIPTION = (
    "Run Python. Variables, imports and files in /mnt/data persist from call to call; the last"
    " expression is shown. There is no network."
)
SHOWN_CHARS = 8_000


class PythonInput(BaseModel):
    """What the model fills in."""

    code: Annotated[str, Field(description="Python source.")]


def python_tool(
    session: Session,
    *,
    name: str = NAME,
    description: str = DESCRIPTION,
    shown_chars: int = SHOWN_CHARS,
) -> StructuredTool:
    """A tool for any agent; its message's `artifact` is the Outcome, with figures and files.

    What the snippet did is text for the model; what the engine could not do is a ToolException.
    Calls that come at the same time take turns, as they share the session's variables.
    """

    def run(code: str) -> tuple[str, Outcome]:
        try:
            outcome = session.run(code)
        except SandboxError as error:
            raise ToolException(str(error)) from error
        return outcome.for_model(max_chars=shown_chars), outcome

    return StructuredTool.from_function(
        func=run,
        name=name,
        description=description,
        args_schema=PythonInput,
        response_format="content_and_artifact",
    )
