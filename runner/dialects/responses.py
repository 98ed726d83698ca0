"""Responses: requests in, with earlier output replayed as the clients send it back."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from pydantic import JsonValue

from runner.dialects.containers import container_of
from runner.dialects.faults import openai_body
from runner.dialects.fields import (
    Fields,
    function_spec,
    metadata_of,
    model_name,
    sampling_of,
)
from runner.dialects.parsed_request import (
    ContainerRequest,
    InlineFile,
    ParsedRequest,
    Rules,
    ServerTool,
    check_exclusive,
)
from runner.dialects.response_items.mcp_requests import McpRequest, mcp_request
from runner.dialects.responses_input import InputReader, Lookup
from runner.dialects.schema_fields import (
    PASSED_BY_BOTH,
    REFUSED_BY_RESPONSES,
    REFUSED_IN_FUNCTIONS,
    REFUSED_IN_INTERPRETERS,
    REFUSED_IN_REASONING,
    REFUSED_IN_SEARCHES,
    check_stream_options,
    included,
    passed_on,
    refuse,
)
from runner.dialects.tool_choices import check_offered, read_choice
from runner.errors import RequestError
from runner.models.port import ToolSpec
from runner.transcript import (
    Entry,
    Instruction,
)

error_body = openai_body
SERVER_TOOLS: Mapping[str, ServerTool] = {
    "code_interpreter": "code_interpreter",
    "web_search": "web_search",
    "web_search_preview": "web_search",
    "web_extractor": "web_extractor",
}
EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh", "max")


@dataclass(frozen=True, slots=True)
class ResponsesOptions:
    """What only this dialect knows of a request."""

    instructions: str | None = None
    previous_response_id: str | None = None
    conversation: str | None = None
    store: bool = True
    background: bool = False
    include: tuple[str, ...] = ()
    input_items: tuple[Mapping[str, JsonValue], ...] = ()
    """The input as items, for `GET /responses/{id}/input_items`."""
    replayed_container: str = ""
    """Container of the last replayed call, to go on in while it lives."""
    file_ids: tuple[str, ...] = ()
    """Files of the input, which go into the container."""
    inline_files: tuple[InlineFile, ...] = ()
    """Files whose content is in the input; they go there too."""
    echo: Mapping[str, JsonValue] = field(default_factory=dict)
    """Fields of the request that the response repeats."""


def parse(
    body: JsonValue,
    *,
    lookup: Lookup,
    rules: Rules = "model_studio",
    present: frozenset[str] = frozenset(),
) -> tuple[ParsedRequest, ResponsesOptions]:
    """The request in `body`; `lookup` finds stored items by id. Raises RequestError.

    `present` are ids of items of the conversation that the request goes on from.
    """
    fields = Fields(body)
    model = model_name(fields)
    tools, functions, servers, container = _tools(fields)
    chosen = read_choice(fields, dict(SERVER_TOOLS), has_mcp=True)
    tools = frozenset(tool for tool in tools if chosen.allows(tool))
    functions = tuple(tool for tool in functions if chosen.allows(tool.name))
    if rules == "model_studio":
        has_interpreter = "code_interpreter" in tools
        check_exclusive(
            has_interpreter=has_interpreter, has_functions=bool(functions), param="tools"
        )
    if not servers:  # What tools those have is known later.
        check_offered(fields, chosen.choice, {*tools, *(tool.name for tool in functions)})
    effort, thinking = _thinking(fields, has_interpreter="code_interpreter" in tools)
    previous = fields.text("previous_response_id")
    conversation = _conversation(fields)
    if previous and conversation:
        raise RequestError(
            "invalid",
            "previous_response_id and conversation cannot be used together.",
            param="conversation",
        )
    background, store = fields.flag("background") or False, fields.flag("store") is not False
    if background and not store:
        raise RequestError("invalid", "background requires store to be true.", param="background")
    reader = InputReader(lookup, has_interpreter="code_interpreter" in tools, present=present)
    entries = reader.read(fields)
    instructions = fields.text("instructions")
    if instructions:
        entries = (Instruction(text=instructions), *entries)
    refuse(fields, REFUSED_BY_RESPONSES)
    check_stream_options(fields)
    passed = passed_on(fields, PASSED_BY_BOTH)
    text = fields.object("text")
    if text is not None and (verbosity := text.text("verbosity")):
        passed["verbosity"] = verbosity
    sampling = sampling_of(fields)
    parsed = ParsedRequest(
        model=model,
        entries=entries,
        stream=fields.flag("stream") or False,
        tools=tools,
        client_tools=functions,
        tool_choice=chosen.choice,
        parallel_calls=fields.flag("parallel_tool_calls") is not False,
        sampling=sampling.model_copy(
            update={"response_format": _text_format(fields), "passed_on": passed}
        ),
        max_tokens=fields.whole("max_output_tokens", least=1),
        max_tool_calls=fields.whole("max_tool_calls"),
        thinking=thinking,
        thinking_budget=fields.whole("thinking_budget", least=1),
        effort=effort,
        container=container,
        in_background=background,
        mcp=servers,
        mcp_allowed=chosen.allowed,
        approvals=reader.approvals,
        truncates=_truncation(fields) == "auto",
    )
    options = ResponsesOptions(
        instructions=instructions,
        previous_response_id=previous,
        conversation=conversation,
        store=store,
        background=background,
        include=included(fields),
        input_items=tuple(reader.items),
        replayed_container=reader.container_id,
        file_ids=tuple(reader.file_ids),
        inline_files=tuple(reader.inline_files),
        echo=_echo(fields),
    )
    return parsed, options


class Replayed(NamedTuple):
    """Stored items as a conversation, and the container of the last code in it."""

    entries: tuple[Entry, ...]
    container_id: str
    items: Sequence[Mapping[str, JsonValue]] = ()


def replay(
    items: Sequence[Mapping[str, JsonValue]],
    *,
    is_kept: bool = True,
    lookup: Lookup = lambda _item_id: None,
) -> Replayed:
    """What `items` say, and which they are, without references. Raises RequestError.

    References among kept ones are passed over: earlier versions kept some, and what they name
    stands elsewhere, or is gone.
    """
    if is_kept:
        items = [item for item in items if item.get("type") != "item_reference"]
    reader = InputReader(lookup)
    entries = reader.read_items(Fields({"items": [dict(item) for item in items]}), "items")
    return Replayed(entries, reader.container_id, reader.items)


def stored_item(item: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
    """An input item as it is listed later: a message has a type, a status, and parts."""
    found = dict(item)
    if found.setdefault("type", "message") != "message":
        return found
    found.setdefault("status", "completed")
    if isinstance(found.get("content"), str):
        kind = "output_text" if found.get("role") == "assistant" else "input_text"
        part: dict[str, JsonValue] = {"type": kind, "text": found["content"]}
        found["content"] = [part | {"annotations": []} if kind == "output_text" else part]
    return found


def _thinking(fields: Fields, *, has_interpreter: bool) -> tuple[str | None, bool | None]:
    """Effort and whether to think; the interpreter turns it on unless it was turned off."""
    reasoning = fields.object("reasoning")
    if reasoning is not None:
        refuse(reasoning, REFUSED_IN_REASONING)
    effort = None if reasoning is None else reasoning.text("effort")
    if effort is not None and effort not in EFFORTS:
        raise RequestError(
            "invalid",
            f"reasoning.effort must be one of {', '.join(EFFORTS)}.",
            param="reasoning.effort",
        )
    thinking = fields.flag("enable_thinking") if effort is None else effort != "none"
    if not has_interpreter:
        return effort, thinking
    if thinking is False:
        raise RequestError(
            "invalid",
            "The code interpreter is only supported in thinking mode.",
            param="enable_thinking" if effort is None else "reasoning.effort",
        )
    return effort, True


def _truncation(fields: Fields) -> str:
    found = fields.text("truncation") or "disabled"
    if found not in ("auto", "disabled"):
        raise fields.wrong("truncation", "must be auto or disabled")
    return found


def _conversation(fields: Fields) -> str | None:
    value = fields.data.get("conversation")
    if isinstance(value, dict):
        return Fields(value, "conversation").text("id")
    return fields.text("conversation")


def _text_format(fields: Fields) -> Mapping[str, JsonValue] | None:
    """`text.format` as Chat Completions names it; None for plain text."""
    text = fields.object("text")
    found = None if text is None else text.object("format")
    if found is None or found.text("type") in (None, "text"):
        return None
    if found.text("type") == "json_object":
        return {"type": "json_object"}
    if found.text("type") != "json_schema":
        raise found.wrong("type", "must be text, json_object or json_schema")
    if not found.text("name"):
        raise found.wrong("name", "is missing")
    if found.object("schema") is None:
        raise found.wrong("schema", "is missing")
    schema = {key: value for key, value in found.data.items() if key != "type"}
    return {"type": "json_schema", "json_schema": schema}


def _tools(
    fields: Fields,
) -> tuple[frozenset[ServerTool], tuple[ToolSpec, ...], tuple[McpRequest, ...], ContainerRequest]:
    own: set[ServerTool] = set()
    functions: list[ToolSpec] = []
    servers: list[McpRequest] = []
    container = ContainerRequest()
    for tool in fields.objects("tools"):
        kind = tool.text("type")
        if kind == "function":
            refuse(tool, REFUSED_IN_FUNCTIONS)
            functions.append(function_spec(tool))
        elif kind is not None and kind in SERVER_TOOLS:
            own.add(SERVER_TOOLS[kind])
            if kind == "code_interpreter":
                refuse(tool, REFUSED_IN_INTERPRETERS)
                container = container_of(tool)
            else:
                refuse(tool, REFUSED_IN_SEARCHES)
        elif kind == "mcp":
            servers.append(mcp_request(tool, servers))
        else:
            known = ", ".join((*SERVER_TOOLS, "mcp", "function"))
            raise tool.wrong("type", f"is {kind!r}; known types: {known}")
    return frozenset(own), tuple(functions), tuple(servers), container


def _echo(fields: Fields) -> dict[str, JsonValue]:
    """What the response repeats of the request, with OpenAI's defaults for what is not given."""
    reasoning = fields.object("reasoning") or Fields({})
    sampling = sampling_of(fields)
    parallel = fields.flag("parallel_tool_calls") is not False
    store = fields.flag("store") is not False
    conversation = _conversation(fields)
    return {
        "background": fields.flag("background") or False,
        "conversation": {"id": conversation} if conversation else None,
        "frequency_penalty": _or(sampling.frequency_penalty, 0.0),
        "instructions": fields.text("instructions"),
        "max_output_tokens": fields.whole("max_output_tokens", least=1),
        "max_tool_calls": fields.whole("max_tool_calls"),
        "metadata": metadata_of(fields),
        "parallel_tool_calls": parallel,
        "presence_penalty": _or(sampling.presence_penalty, 0.0),
        "previous_response_id": fields.text("previous_response_id"),
        "prompt_cache_key": fields.text("prompt_cache_key"),
        "reasoning": {
            "effort": reasoning.text("effort"),
            "summary": reasoning.text("summary"),
        },
        "safety_identifier": fields.text("safety_identifier"),
        "service_tier": "default",
        "store": store,
        "temperature": _or(sampling.temperature, 1.0),
        "text": _text_echo(fields),
        "tool_choice": fields.data.get("tool_choice") or "auto",
        "tools": [_tool_echo(tool.data) for tool in fields.objects("tools")],
        "top_logprobs": 0,
        "top_p": _or(sampling.top_p, 1.0),
        "truncation": _truncation(fields),
        "user": fields.text("user"),
    }


def _or(given: float | None, default: float) -> float:
    return default if given is None else given


def _text_echo(fields: Fields) -> dict[str, JsonValue]:
    text = fields.object("text")
    given = {} if text is None else dict(text.data)
    form = given.get("format")
    if not isinstance(form, dict):
        form = {"type": "text"}
    elif form.get("type") == "json_schema":
        form = {"description": None, "schema": None, **form}
        form["strict"] = form.get("strict") is True
    return {**given, "format": form}


def _tool_echo(tool: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
    """A tool as responses list it: what may be left out of a function is null."""
    if tool.get("type") != "function":
        return dict(tool)
    return {"description": None, "parameters": None, "strict": None, **tool}
