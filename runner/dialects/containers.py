"""Containers: what the field `container` of the code interpreter's tool asks for."""

from runner.dialects.fields import Fields
from runner.dialects.parsed_request import ContainerRequest

CONTAINER_ID_CHARS = 64
MEMORY_LIMITS = ("1g", "4g", "16g", "64g")


def container_of(tool: Fields) -> ContainerRequest:
    """The container that the interpreter's `tool` names. Raises RequestError."""
    value = tool.data.get("container")
    if value is None:
        return ContainerRequest()
    if isinstance(value, str):
        return ContainerRequest(id=tool.text("container", longest=CONTAINER_ID_CHARS) or "")
    auto = Fields(value, tool.name("container"))
    if auto.text("type") not in (None, "auto"):
        raise auto.wrong("type", "must be 'auto'")
    check_network(auto)
    memory = auto.text("memory_limit")
    if memory is not None and memory not in MEMORY_LIMITS:
        raise auto.wrong("memory_limit", f"must be one of {', '.join(MEMORY_LIMITS)}")
    return ContainerRequest(file_ids=auto.strings("file_ids"), memory_limit=memory or "")


def check_network(container: Fields) -> None:
    """Refuse a container that asks for network: code has none here."""
    policy = container.object("network_policy")
    if policy is not None and policy.text("type") != "disabled":
        raise policy.wrong("type", "must be 'disabled': code has no network on this server")
