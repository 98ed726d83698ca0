"""Chat Completions: requests in, chunks out. Code and its output never show, unless asked for."""

from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

from pydantic import JsonValue

from runner.dialects.containers import container_of
from runner.dialects.content_parts import Attached, chat_parts, question_of, texts_only
from runner.dialects.faults import DEADLINE, Fault, openai_body, openai_error
from runner.dialects.fields import (
    NAME_CHARS,
    Fields,
    function_spec,
    metadata_of,
    model_name,
    sampling_of,
)
from runner.dialects.parsed_request import (
    NEEDS_STREAM,
    NEEDS_THINKING,
    ContainerRequest,
    ParsedRequest,
    Rules,
    ServerTool,
    check_exclusive,
)
from runner.dialects.schema_fields import (
    PASSED_BY_CHAT,
    REFUSED_BY_CHAT,
    REFUSED_IN_MESSAGES,
    check_stream_options,
    passed_on,
    refuse,
)
from runner.dialects.tool_choices import check_offered, read_choice
from runner.errors import RequestError
from runner.events import (
    ArgumentsDelta,
    CallBegan,
    CallDone,
    CallRunning,
    Ended,
    Ending,
    LoopEvent,
    ReasoningDelta,
    TextDelta,
)
from runner.models.port import ToolSpec
from runner.tools.arguments import read
from runner.transcript import (
    CodeRun,
    Entry,
    FunctionResult,
    Instruction,
    ToolCall,
    Turn,
    Usage,
    compact,
)

DONE = b"data: [DONE]\n\n"
FINISH: dict[Ending, str] = {
    "answered": "stop",
    "client_calls": "tool_calls",
    "length": "length",
    "tokens": "length",
    "rounds": "length",
    "calls": "length",
    "filter": "content_filter",
}
INTERPRETER = {"code_interpreter": "code_interpreter"}
ROLES = ("system", "developer", "user", "assistant", "tool", "function")
KNOWN_TOOLS = "only 'function' and 'code_interpreter' are"
error_body = openai_body


class ChatOptions(NamedTuple):
    """`stream_options`; the second one is this server's own."""

    include_usage: bool = False
    include_tool_info: bool = False


def parse(
    body: JsonValue, *, rules: Rules = "model_studio", always_code: bool = False
) -> tuple[ParsedRequest, ChatOptions]:
    """The request in `body`. Raises RequestError.

    By Model Studio's `rules` the interpreter needs a stream and thinking, and is a switch; by
    OpenAI's it may be in `tools` too. `always_code` gives it to requests that do not ask.
    """
    fields = Fields(body)
    model = model_name(fields)
    wants_code = fields.flag("enable_code_interpreter") or False
    thinking = fields.flag("enable_thinking")
    stream = fields.flag("stream") or False
    functions, interpreter = _tools(fields, rules)
    if rules == "model_studio":
        check_exclusive(has_interpreter=wants_code, has_functions=bool(functions), param="tools")
    if rules == "model_studio" and wants_code and not thinking:
        raise RequestError("invalid", NEEDS_THINKING, param="enable_thinking")
    if rules == "model_studio" and wants_code and not stream:
        raise RequestError("invalid", NEEDS_STREAM, param="enable_thinking")
    chosen = read_choice(fields, INTERPRETER)
    choice = chosen.choice
    functions = tuple(tool for tool in functions if chosen.allows(tool.name))
    if not chosen.allows("code_interpreter"):
        interpreter, wants_code, always_code = None, False, False
    wants_code = wants_code or interpreter is not None or (always_code and choice != "none")
    own = server_tools(fields, wants_code)
    check_offered(fields, choice, {*own, *(tool.name for tool in functions)})
    sampling = sampling_of(fields)
    if thinking and (sampling.response_format or {}).get("type") in ("json_object", "json_schema"):
        raise RequestError(
            "invalid",
            "Json mode response is not supported when enable_thinking is true",
            param="response_format",
        )
    refuse(fields, REFUSED_BY_CHAT)
    check_stream_options(fields)
    metadata_of(fields)
    passed = {"passed_on": passed_on(fields, PASSED_BY_CHAT)}
    options = fields.object("stream_options") or Fields({})
    attached = Attached() if wants_code else None
    entries = entries_of(fields, attached)
    container = interpreter or ContainerRequest()
    if attached is not None:
        container = replace(
            container,
            file_ids=(*container.file_ids, *attached.file_ids),
            inline_files=tuple(attached.inline_files),
        )
    parsed = ParsedRequest(
        model=model,
        entries=entries,
        stream=stream,
        tools=own,
        client_tools=functions,
        tool_choice=choice,
        parallel_calls=fields.flag("parallel_tool_calls") is not False,
        sampling=sampling.model_copy(update=passed),
        max_tokens=fields.whole("max_completion_tokens", least=1)
        or fields.whole("max_tokens", least=1),
        thinking=thinking,
        thinking_budget=fields.whole("thinking_budget", least=1),
        effort=fields.text("reasoning_effort"),
        container=container,
    )
    return parsed, ChatOptions(
        include_usage=options.flag("include_usage") or False,
        include_tool_info=options.flag("include_tool_info") or False,
    )


def _tools(fields: Fields, rules: Rules) -> tuple[tuple[ToolSpec, ...], ContainerRequest | None]:
    """Functions of the client, and the container of an interpreter among them."""
    functions: list[ToolSpec] = []
    container: ContainerRequest | None = None
    for tool in fields.objects("tools"):
        kind = tool.text("type")
        if kind == "code_interpreter" and rules == "openai":
            container = container_of(tool)
        elif kind == "function":
            function = tool.object("function")
            if function is None:
                raise tool.wrong("function", "is missing")
            functions.append(function_spec(function))
        else:
            known = "only 'function' is" if rules == "model_studio" else KNOWN_TOOLS
            raise tool.wrong("type", f"is {kind!r}; {known} known here")
    return tuple(functions), container


def server_tools(fields: Fields, wants_code: bool) -> frozenset[ServerTool]:
    """This server's tools that the switches of Chat and DashScope turn on."""
    found: set[ServerTool] = {"code_interpreter"} if wants_code else set()
    if fields.flag("enable_search"):
        found.add("web_search")
        options = fields.object("search_options")
        if options is not None and options.text("search_strategy") == "agent_max":
            found.add("web_extractor")
    return frozenset(found)


# ---- messages -----------------------------------------------------------------------------------


def entries_of(fields: Fields, attached: Attached | None = None) -> tuple[Entry, ...]:
    """`messages` as a transcript. Earlier thinking is left out; files go to `attached`, if any."""
    if not fields.items("messages"):
        raise fields.wrong("messages", "must be a non-empty array")
    return tuple(_entry(message, attached) for message in fields.objects("messages"))


def _entry(message: Fields, attached: Attached | None) -> Entry:
    role = message.text("role")
    if role not in ROLES:
        raise message.wrong("role", f"must be one of {', '.join(ROLES)}")
    content = message.data.get("content")
    if content is not None and not isinstance(content, str | list):
        raise message.wrong("content", "must be a string or an array of parts")
    name = message.text("name", longest=NAME_CHARS) or ""
    if role in ("system", "developer"):
        return Instruction(text=texts_only(message, role), name=name)
    if role == "user":
        return question_of(list(chat_parts(message, attached)), name=name)
    if role == "assistant":
        refuse(message, REFUSED_IN_MESSAGES)
        calls = tuple(map(_call, message.objects("tool_calls")))
        if (old := message.object("function_call")) is not None and not calls:
            # Its result comes in a message of the role `function`, which has its name alone.
            called = old.text("name") or ""
            calls = (ToolCall(id=called, name=called, arguments=old.text("arguments") or ""),)
        text = texts_only(message, role) or message.text("refusal") or ""
        return Turn(text=text, calls=calls, name=name)
    call_id = message.text("tool_call_id") or message.text("name") or ""
    return FunctionResult(call_id=call_id, text=texts_only(message, role))


def _call(call: Fields) -> ToolCall:
    function = call.object("function")
    if function is None:
        raise call.wrong("function", "is missing")
    return ToolCall(
        id=call.text("id") or "",
        name=function.text("name") or "",
        arguments=function.text("arguments") or "",
    )


# ---- answers ------------------------------------------------------------------------------------


def usage_json(usage: Usage) -> dict[str, object]:
    """The usage object, summed over rounds."""
    found: dict[str, object] = {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.total_tokens,
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
    }
    if usage.cached_tokens:
        found["prompt_tokens_details"] = {"cached_tokens": usage.cached_tokens}
    return found


class ChatWriter:
    """Loop events into the frames of one stream."""

    def __init__(
        self,
        parsed: ParsedRequest,
        options: ChatOptions,
        *,
        completion_id: str,
        created: int,
        model: str,
    ) -> None:
        self._options = options
        self._client_tools = {tool.name for tool in parsed.client_tools}
        self._calls: dict[str, int] = {}
        self._tail = {
            "created": created,
            "system_fingerprint": None,
            "model": model,
            "id": completion_id,
        }

    def begin(self) -> Iterator[bytes]:
        """The first chunk: the only one with a role."""
        yield self._chunk({"content": None, "role": "assistant", "reasoning_content": ""})

    def feed(self, event: LoopEvent) -> Iterator[bytes]:
        """Frames for `event`; often none."""
        if isinstance(event, ReasoningDelta):
            yield self._chunk({"content": None, "reasoning_content": event.text})
        elif isinstance(event, TextDelta):
            yield self._chunk({"content": event.text, "reasoning_content": None})
        elif isinstance(event, CallBegan | ArgumentsDelta):
            yield from self._client_call(event)
        elif isinstance(event, CallRunning | CallDone):
            if self._options.include_tool_info:
                yield from self._tool_info(event)
        elif isinstance(event, Ended):
            yield from self._end(event)

    def fail(self, fault: Fault) -> Iterator[bytes]:
        """The frame that says that the stream ends in an error."""
        yield _frame({"error": openai_error(fault)})

    def _end(self, event: Ended) -> Iterator[bytes]:
        if event.ending == "deadline":
            yield from self.fail(DEADLINE)
            return
        last: dict[str, object] = {"content": "", "reasoning_content": None}
        yield self._chunk(last, FINISH[event.ending])
        if self._options.include_usage:
            usage = usage_json(event.usage)
            yield _frame(
                {"choices": [], "object": "chat.completion.chunk", "usage": usage, **self._tail}
            )
        yield DONE

    def _client_call(self, event: CallBegan | ArgumentsDelta) -> Iterator[bytes]:
        if isinstance(event, CallBegan):
            if event.tool not in self._client_tools:
                return
            number = self._calls[event.call_id] = len(self._calls)
            call: dict[str, object] = {
                "index": number,
                "id": event.call_id,
                "type": "function",
                "function": {"name": event.tool, "arguments": ""},
            }
        elif event.call_id in self._calls:
            number = self._calls[event.call_id]
            call = {"index": number, "function": {"arguments": event.piece}}
        else:
            return
        yield self._chunk({"content": None, "reasoning_content": None, "tool_calls": [call]})

    def _tool_info(self, event: CallRunning | CallDone) -> Iterator[bytes]:
        info: dict[str, object] = {"status": "completed"}
        if isinstance(event, CallRunning) and event.call.name == "code_interpreter":
            code = read(event.call.arguments, main="code").values.get("code", "")
            info = {"status": "running", "code": code}
        elif isinstance(event, CallRunning):
            info = {"status": "running", "arguments": event.call.arguments}
        elif isinstance(event.result.details, CodeRun):
            info["logs"] = event.result.details.logs
        tool: dict[str, object] = {"type": event.call.name, "id": event.call.id, **info}
        yield self._chunk({"content": None, "reasoning_content": None, "tool_info": [tool]})

    def _chunk(self, delta: dict[str, object], finish: str | None = None) -> bytes:
        choice = {"delta": delta, "finish_reason": finish, "index": 0, "logprobs": None}
        return _frame(
            {
                "choices": [choice],
                "object": "chat.completion.chunk",
                "usage": None,
                **self._tail,
            }
        )


def completion(ended: Ended, *, completion_id: str, created: int, model: str) -> dict[str, object]:
    """The whole answer of a request that did not stream."""
    text = "".join(turn.text for turn in ended.turns)
    calls = list(_open_calls(ended))
    message: dict[str, object] = {
        "role": "assistant",
        "content": text if text or not calls else None,
        "reasoning_content": "".join(turn.reasoning for turn in ended.turns),
    }
    if calls:
        message["tool_calls"] = calls
    choice = {
        "message": message,
        "finish_reason": FINISH.get(ended.ending, "stop"),
        "index": 0,
        "logprobs": None,
    }
    return {
        "choices": [choice],
        "object": "chat.completion",
        "usage": usage_json(ended.usage),
        "created": created,
        "system_fingerprint": None,
        "model": model,
        "id": completion_id,
    }


def _open_calls(ended: Ended) -> Iterator[dict[str, object]]:
    """Calls that the client has to answer."""
    if ended.ending != "client_calls":
        return
    turn = ended.turns[-1]
    answered = {result.call_id for result in turn.results}
    for call in turn.calls:
        if call.id not in answered:
            function = {"name": call.name, "arguments": call.arguments}
            yield {"id": call.id, "type": "function", "function": function}


def _frame(data: dict[str, object]) -> bytes:
    return f"data: {compact(data)}\n\n".encode()
