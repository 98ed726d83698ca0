"""Tool choices: whether and which tool the model must call, and which of them it may."""

from collections.abc import Collection
from typing import NamedTuple

from runner.dialects.fields import Fields
from runner.dialects.response_items.mcp_requests import function_name

WORDS = ("auto", "none", "required")


class ToolChoice(NamedTuple):
    """`choice` is a word or the name of a tool; of `allowed` None means all."""

    choice: str = "auto"
    allowed: frozenset[str] | None = None

    def allows(self, name: str) -> bool:
        """Whether the tool `name` may be offered."""
        return self.allowed is None or name in self.allowed


def check_offered(fields: Fields, choice: str, names: Collection[str]) -> None:
    """Refuse a choice of a tool that is none of `names`: it could not be called."""
    if choice not in WORDS and choice not in names:
        raise fields.wrong("tool_choice", f"names {choice!r}, which is not among the tools")


def read_choice(
    fields: Fields, server_tools: dict[str, str], *, has_mcp: bool = False
) -> ToolChoice:
    """The field `tool_choice`; `server_tools` names those of this server by their types.

    With `has_mcp` a tool of a server may be named too.

    Both OpenAI dialects, which nest the names of functions differently. Raises RequestError.
    """
    value = fields.data.get("tool_choice")
    if value is None:
        return ToolChoice()
    if isinstance(value, str):
        if value not in WORDS:
            raise fields.wrong("tool_choice", "must be auto, none, required or an object")
        return ToolChoice(value)
    chosen = Fields(value, fields.name("tool_choice"))
    if chosen.text("type") != "allowed_tools":
        return ToolChoice(_name(chosen, server_tools, has_mcp))
    allowed = chosen.object("allowed_tools") or chosen
    mode = allowed.text("mode") or "auto"
    if mode not in ("auto", "required"):
        raise allowed.wrong("mode", "must be auto or required")
    names = frozenset(_name(tool, server_tools, has_mcp) for tool in allowed.objects("tools"))
    if not names:
        raise allowed.wrong("tools", "must be a non-empty array")
    return ToolChoice(mode, names)


def _name(chosen: Fields, server_tools: dict[str, str], has_mcp: bool) -> str:
    kind = chosen.text("type") or "function"
    if kind in server_tools:
        return server_tools[kind]
    if kind == "mcp" and has_mcp:
        label, tool = chosen.text("server_label"), chosen.text("name")
        if not label or not tool:
            missing = "name" if label else "server_label"
            raise chosen.wrong(missing, "is missing: a choice names one tool of a server")
        return function_name(label, tool)
    if kind != "function":
        known = ", ".join(("function", *server_tools))
        raise chosen.wrong("type", f"is {kind!r}; known types: {known}")
    name = (chosen.object("function") or chosen).text("name")
    if not name:
        raise chosen.wrong("name", "must be a non-empty string")
    return name
