"""ParsedRequest: what a request of any dialect wants of the loop, in neutral terms."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from runner.dialects.response_items.mcp_requests import Approval, McpRequest
from runner.errors import RequestError
from runner.models.port import ModelRequest, Sampling, ToolSpec
from runner.transcript import Entry

Rules = Literal["openai", "model_studio"]
"""Whose rules hold for the interpreter: on Model Studio's own paths it goes with no functions."""
ServerTool = Literal["code_interpreter", "web_search", "web_extractor"]
MUTUALLY_EXCLUSIVE = "The code interpreter and function tools cannot be used together."
NEEDS_THINKING = "The code interpreter is only supported in thinking mode."
NEEDS_STREAM = "parameter.enable_thinking must be set to false for non-streaming calls"


class InlineFile(NamedTuple):
    """A file that came inside a request."""

    filename: str
    data: bytes


@dataclass(frozen=True, slots=True)
class ContainerRequest:
    """The container that a request names: an id, or what an automatic one is made of."""

    id: str = ""
    file_ids: tuple[str, ...] = ()
    inline_files: tuple[InlineFile, ...] = ()
    memory_limit: str = ""


@dataclass(frozen=True, slots=True)
class ParsedRequest:
    """A request, checked. `tools` are this server's own, `client_tools` the client's."""

    model: str
    entries: tuple[Entry, ...]
    stream: bool
    tools: frozenset[ServerTool] = frozenset()
    client_tools: tuple[ToolSpec, ...] = ()
    tool_choice: str = "auto"
    parallel_calls: bool = True
    sampling: Sampling = field(default_factory=Sampling)
    max_tokens: int | None = None
    max_tool_calls: int | None = None
    thinking: bool | None = None
    thinking_budget: int | None = None
    effort: str | None = None
    container: ContainerRequest = field(default_factory=ContainerRequest)
    in_background: bool = False
    mcp: tuple[McpRequest, ...] = ()
    """Servers of the owner's config whose tools the model may call."""
    mcp_allowed: frozenset[str] | None = None
    """The only functions of theirs that the request allows; None for all."""
    approvals: Mapping[str, Approval] = field(default_factory=dict)
    """What was said to requests for approval, by their ids."""
    truncates: bool = False
    """Whether the oldest of the conversation may go where the whole does not fit."""

    @property
    def has_interpreter(self) -> bool:
        return "code_interpreter" in self.tools

    def model_request(self, entries: tuple[Entry, ...] | None = None) -> ModelRequest:
        """What the model is asked; `entries` replaces the conversation, the tools come later."""
        return ModelRequest(
            entries=self.entries if entries is None else entries,
            model=self.model,
            tool_choice=self.tool_choice,
            parallel_calls=self.parallel_calls,
            sampling=self.sampling,
            max_tokens=self.max_tokens,
            thinking=self.thinking,
            thinking_budget=self.thinking_budget,
            effort=self.effort,
            is_watched=self.stream or self.in_background,
            truncates=self.truncates,
        )


def check_exclusive(*, has_interpreter: bool, has_functions: bool, param: str) -> None:
    """Refuse the interpreter beside a function of the client."""
    if has_interpreter and has_functions:
        raise RequestError("invalid", MUTUALLY_EXCLUSIVE, param=param)
