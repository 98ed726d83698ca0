"""Tool: the port that everything a model may call implements.

A tool never raises for what a model can mend: it answers with a result that says what was wrong.
It raises only when it is cancelled, or for an error after which the request cannot go on.
"""

from typing import Protocol

from runner.models.port import ToolSpec
from runner.transcript import ToolCall, ToolResult


class Tool(Protocol):
    """Something that a model may call by the name in its `spec`."""

    @property
    def spec(self) -> ToolSpec:
        """How the tool is described to the model."""
        ...

    @property
    def aliases(self) -> frozenset[str]:
        """Other names by which models call the tool."""
        ...

    async def run(self, call: ToolCall) -> ToolResult:
        """Do what `call` asks. Cancelling stops the work at once and leaves nothing running."""
        ...

    async def close(self) -> None:
        """Return the conversation's request is over; let go of what it held."""
        ...
