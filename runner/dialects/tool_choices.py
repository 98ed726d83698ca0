"""Tool choices: whether and which tool the model must call, and which of them it may."""

from typing import NamedTuple

from runner.dialects.fields import Fields

WORDS = ("auto", "none", "required")


class ToolChoice(NamedTuple):
    """`choice` is a word or the name of a tool; of `allowed` None means all."""

    choice: str = "auto"
    allowed: frozenset[str] | None = None

    def allows(self, name: str) -> bool:
        """Whether the tool `name` may be offered."""
        return self.allowed is None or name in self.allowed


def read_choice(fields: Fields, server_tools: dict[str, str]) -> ToolChoice:
    """The field `tool_choice`; `server_tools` names those of this server by their types.

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
        return ToolChoice(_name(chosen, server_tools))
    allowed = chosen.object("allowed_tools") or chosen
    mode = allowed.text("mode") or "auto"
    if mode not in ("auto", "required"):
        raise allowed.wrong("mode", "must be auto or required")
    names = frozenset(_name(tool, server_tools) for tool in allowed.objects("tools"))
    if not names:
        raise allowed.wrong("tools", "must be a non-empty array")
    return ToolChoice(mode, names)


def _name(chosen: Fields, server_tools: dict[str, str]) -> str:
    kind = chosen.text("type") or "function"
    if kind in server_tools:
        return server_tools[kind]
    if kind != "function":
        known = ", ".join(("function", *server_tools))
        raise chosen.wrong("type", f"is {kind!r}; known types: {known}")
    name = (chosen.object("function") or chosen).text("name")
    if not name:
        raise chosen.wrong("name", "must be a non-empty string")
    return name
