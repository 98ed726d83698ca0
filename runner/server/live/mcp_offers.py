"""MCP offers: of the config's servers, the tools that one response may call."""

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import cast

from pydantic import JsonValue

from runner.config import McpSettings
from runner.dialects.parsed_request import ParsedRequest
from runner.dialects.response_items.mcp_requests import (
    McpListed,
    McpNamed,
    McpOffer,
    McpRequest,
    function_name,
)
from runner.errors import RequestError
from runner.tools.mcp_call import McpCall, McpServer, McpToolFacts

Servers = Mapping[str, tuple[McpServer, McpSettings]]
BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
"""As TOML takes one."""
CLOSED = "The connection to the server has ended; its owner has to start it again."


@dataclass(slots=True)
class Offered:
    """The tools of a response, and what its writer needs to know of them."""

    tools: list[McpCall] = field(default_factory=list)
    offer: McpOffer = field(default_factory=McpOffer)


def offered(
    servers: Servers,
    parsed: ParsedRequest,
    *,
    shown_chars: int,
    listed_before: Collection[str] = (),
) -> Offered:
    """The tools of the servers that `parsed` names. Raises RequestError for any not in the config.

    Labels in `listed_before` were listed earlier in the conversation.
    """
    names: dict[str, McpNamed] = {}
    asking: set[str] = set()
    lists: list[McpListed] = []
    tools: list[McpCall] = []
    taken = {one.name for one in parsed.client_tools} | set(parsed.tools)
    for asked in parsed.mcp:
        server, settings = _server(servers, asked)
        if parsed.has_interpreter and settings.in_snippets and asked.may_ask:
            raise RequestError(
                "invalid",
                f"{asked.path}: calls of {asked.label!r} are to wait for approval, and code of the"
                " interpreter may call the same tools without it. Send require_approval 'never',"
                " or leave one of the two tools out.",
                param=asked.path,
            )
        found = list(_allowed(server, asked)) if server.is_open else []
        for facts in found:
            name = function_name(asked.label, facts.name)
            if parsed.mcp_allowed is not None and name not in parsed.mcp_allowed:
                continue
            if name in taken:
                raise RequestError(
                    "invalid",
                    f"{asked.path}: the tool {facts.name!r} would be the function {name!r}, which"
                    " is there already. Choose another server_label.",
                    param=asked.path,
                )
            taken.add(name)
            names[name] = McpNamed(asked.label, facts.name)
            if asked.asks(facts.name, is_read_only=facts.is_read_only):
                asking.add(name)
            tools.append(
                McpCall(
                    server,
                    facts,
                    name=name,
                    label=asked.label,
                    about=asked.description,
                    most=settings.max_calls,
                    shown_chars=shown_chars,
                )
            )
        if asked.label not in listed_before or not server.is_open:
            error = "" if server.is_open else CLOSED
            lists.append(McpListed(asked.label, [_shown(one) for one in found], error))
    approved = frozenset(asked for asked, said in parsed.approvals.items() if said.approve)
    return Offered(tools, McpOffer(names, frozenset(asking), approved, tuple(lists)))


def _server(servers: Servers, asked: McpRequest) -> tuple[McpServer, McpSettings]:
    """The server by its label, or by its address. Nothing else is ever connected to."""
    by_label = servers.get(asked.label)
    if by_label is not None and asked.url in ("", by_label[1].url):
        return by_label
    if asked.url and by_label is None:
        for server in servers.values():
            if server[1].url == asked.url:
                return server
    problem = (
        "its server_url is another than the config's"
        if by_label is not None
        else "no server of the config has this server_label or server_url"
    )
    name = asked.label if BARE_KEY.fullmatch(asked.label) else "NAME"
    raise RequestError(
        "invalid",
        f"{asked.path} is 'mcp' for {asked.label!r}, and {problem}. This server calls only what"
        f" its owner names: [mcp.{name}] in the config, with url = the server_url or a command.",
        param=asked.path,
    )


def _allowed(server: McpServer, asked: McpRequest) -> Iterator[McpToolFacts]:
    listed = server.listed
    if absent := (asked.allowed.names or frozenset()) - {one.name for one in listed}:
        raise RequestError(
            "invalid",
            f"{asked.path}: {asked.label!r} has no tool {', '.join(sorted(absent))[:200]}. It has:"
            f" {', '.join(one.name for one in listed)[:500]}.",
            param=asked.path,
        )
    for one in listed:
        if asked.allowed.takes(one.name, is_read_only=one.is_read_only):
            yield one


def _shown(facts: McpToolFacts) -> Mapping[str, JsonValue]:
    annotations = None if facts.annotations is None else dict(facts.annotations)
    return {
        "name": facts.name,
        "description": facts.description or None,
        "input_schema": cast(JsonValue, dict(facts.input_schema)),
        "annotations": annotations,
    }
