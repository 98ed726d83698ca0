"""DashScope's native text generation: requests in, frames out.

Every frame repeats what there is so far: the list of calls, the running usage. No answer ever
holds what a snippet printed.
"""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from pydantic import JsonValue

from runner.dialects.chat import INTERPRETER, entries_of, server_tools
from runner.dialects.faults import DEADLINE, Fault
from runner.dialects.fields import Fields, function_spec, model_name, sampling_of
from runner.dialects.parsed_request import (
    NEEDS_STREAM,
    NEEDS_THINKING,
    ParsedRequest,
    check_exclusive,
)
from runner.dialects.schema_fields import (
    PASSED_BY_DASHSCOPE,
    REFUSED_BY_DASHSCOPE,
    passed_on,
    refuse,
)
from runner.dialects.tool_choices import check_offered, read_choice
from runner.errors import RequestError
from runner.events import (
    ArgumentsDelta,
    CallBegan,
    CallRunning,
    Ended,
    Ending,
    LoopEvent,
    ReasoningDelta,
    TextDelta,
)
from runner.models.port import ToolSpec
from runner.tools.arguments import read
from runner.transcript import Entry, Question, Turn, Usage, compact

FINISH: dict[Ending, str] = {
    "answered": "stop",
    "client_calls": "tool_calls",
    "length": "length",
    "tokens": "length",
    "rounds": "length",
    "calls": "length",
    "filter": "stop",
}
WRITING_STEP_TOKENS = 8
"""An empty frame is sent each time a call that is being written has grown by so much."""
CODES: dict[str, str] = {  # kind of fault: code
    "key": "InvalidApiKey",
    "key_missing": "InvalidApiKey",
    "forbidden": "AccessDenied",
    "model_unknown": "ModelNotFound",
    "too_large": "BadRequest.TooLarge",
    "too_slow": "RequestTimeOut",
    "rate": "Throttling.RateQuota",
    "concurrency": "Throttling.Concurrency",
    "quota": "Throttling.AllocationQuota",
    "upstream_busy": "Throttling",
    "upstream_slow": "RequestTimeOut",
    "upstream_down": "ModelUnavailable",
    "upstream_rejected": "InvalidParameter",
    "deadline": "RequestTimeOut",
    "overload": "ModelUnavailable",
}
WORDS: dict[str, str] = {  # kind of fault: the message that this dialect has for it
    "key": "Invalid API-key provided.",
    "model_missing": "Model not exist.",
    "body": "Required body invalid, please check the request body format.",
}


class DashScopeOptions(NamedTuple):
    """How the answer is written."""

    is_incremental: bool = True
    is_text: bool = False


def parse(body: JsonValue, *, stream: bool) -> tuple[ParsedRequest, DashScopeOptions]:
    """The request in `body`; `stream` comes from the headers. Raises RequestError."""
    fields = Fields(body)
    model = model_name(fields)
    given = fields.object("input")
    if given is None:
        raise RequestError("invalid", 'Either "prompt" or "messages" must exist', param="input")
    parameters = fields.object("parameters") or Fields({}, "parameters")
    wants_code = parameters.flag("enable_code_interpreter") or False
    thinking = parameters.flag("enable_thinking")
    functions = tuple(map(_function, parameters.objects("tools")))
    result_format = parameters.text("result_format")
    incremental = parameters.flag("incremental_output")
    check_exclusive(
        has_interpreter=wants_code, has_functions=bool(functions), param="parameters.tools"
    )
    if wants_code and not thinking:
        raise RequestError("invalid", NEEDS_THINKING, param="parameters.enable_thinking")
    if wants_code and not stream:
        raise RequestError("invalid", NEEDS_STREAM, param="parameters.enable_thinking")
    if result_format not in (None, "text", "message"):
        raise parameters.wrong("result_format", 'must be "text" or "message"')
    for name, value, wanted in (
        ("incremental_output", incremental is False, "true"),
        ("result_format", result_format == "text", "message"),
    ):
        if thinking and value and (stream or name == "result_format"):
            raise RequestError(
                "invalid",
                f'The {name} parameter must be "{wanted}" when enable_thinking is true',
                param=f"parameters.{name}",
            )
    choice, own = read_choice(parameters, INTERPRETER).choice, server_tools(parameters, wants_code)
    check_offered(parameters, choice, {*own, *(tool.name for tool in functions)})
    if (parameters.whole("n", least=1, most=4) or 1) != 1:
        raise parameters.wrong("n", "must be 1")
    refuse(parameters, REFUSED_BY_DASHSCOPE)
    passed = {"passed_on": passed_on(parameters, PASSED_BY_DASHSCOPE)}
    parsed = ParsedRequest(
        model=model,
        entries=_entries(given),
        stream=stream,
        tools=own,
        client_tools=functions,
        tool_choice=choice,
        parallel_calls=parameters.flag("parallel_tool_calls") is not False,
        sampling=sampling_of(parameters).model_copy(update=passed),
        max_tokens=parameters.whole("max_completion_tokens", least=1)
        or parameters.whole("max_tokens", least=1),
        thinking=thinking,
        thinking_budget=parameters.whole("thinking_budget", least=1),
        effort=parameters.text("reasoning_effort"),
    )
    return parsed, DashScopeOptions(incremental is not False, result_format == "text")


def _entries(given: Fields) -> tuple[Entry, ...]:
    if given.items("messages"):
        return entries_of(given)
    prompt = given.text("prompt")
    if not prompt:
        raise RequestError(
            "invalid", 'Either "prompt" or "messages" must exist', param="input.messages"
        )
    earlier: list[Entry] = []
    for said in given.objects("history"):
        earlier.append(Question(text=said.text("user") or ""))
        earlier.append(Turn(text=said.text("bot") or ""))
    return (*earlier, Question(text=prompt))


def _function(tool: Fields) -> ToolSpec:
    function = tool.object("function")
    if tool.text("type") != "function" or function is None:
        raise tool.wrong("type", "must be 'function'")
    return function_spec(function)


def error_body(fault: Fault, request_id: str) -> dict[str, object]:
    """The body of a plain error and of an error frame."""
    if fault.status == 503:
        default = "ModelUnavailable"
    else:
        default = "InvalidParameter" if fault.status < 500 else "InternalError"
    return {
        "code": CODES.get(fault.kind, default),
        "message": WORDS.get(fault.kind, fault.message),
        "request_id": request_id,
    }


def usage_json(
    usage: Usage, *, count: int, has_plugins: bool, searches: int = 0
) -> dict[str, object]:
    """Running totals; `count` is the number of snippets run, `searches` that of web searches."""
    found: dict[str, object] = {
        "total_tokens": usage.total_tokens,
        "output_tokens": usage.output_tokens,
        "input_tokens": usage.input_tokens,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
    }
    if usage.cached_tokens:
        found["prompt_tokens_details"] = {"cached_tokens": usage.cached_tokens}
    plugins: dict[str, object] = {}
    if has_plugins:
        plugins["code_interpreter"] = {"count": count}
    if searches:
        plugins["search"] = {"count": searches}
    if plugins:
        found["plugins"] = plugins
    return found


class DashScopeWriter:
    """Loop events into the frames of one stream."""

    def __init__(
        self, parsed: ParsedRequest, options: DashScopeOptions, *, request_id: str
    ) -> None:
        self._options = options
        self._request_id = request_id
        self._has_interpreter = parsed.has_interpreter
        self._client_tools = {tool.name for tool in parsed.client_tools}
        self._number = 0
        self._codes: list[str] = []
        self._searches = 0
        self._text: list[str] = []
        self._thoughts: list[str] = []
        self._told_tokens = 0

    def begin(self) -> Iterator[bytes]:
        """Nothing: the first frame comes with the first text."""
        yield from ()

    def feed(self, event: LoopEvent, usage: Usage) -> Iterator[bytes]:
        """Frames for `event`, with `usage` as the totals so far."""
        if isinstance(event, ReasoningDelta):
            yield self._next(usage, thought=event.text)
        elif isinstance(event, TextDelta):
            yield self._next(usage, text=event.text)
        elif isinstance(event, CallBegan | ArgumentsDelta):
            if usage.output_tokens >= self._told_tokens + WRITING_STEP_TOKENS:
                yield self._next(usage)
        elif isinstance(event, CallRunning):
            if event.call.name == "code_interpreter":
                code = read(event.call.arguments, main="code").values.get("code", "")
                self._codes.append(code if isinstance(code, str) else "")
                yield self._next(usage)
            elif event.call.name == "web_search":
                self._searches += 1
                yield self._next(usage)
        elif isinstance(event, Ended):
            yield from self._end(event)

    def fail(self, fault: Fault) -> Iterator[bytes]:
        """The frame that ends the stream with an error, its status where clients read it."""
        self._number += 1
        body = compact(error_body(fault, self._request_id))
        yield (
            f"id:{self._number}\nevent:error\n:HTTP_STATUS/{fault.status}\n"
            f"status:{fault.status}\ndata:{body}\n\n".encode()
        )

    def _end(self, event: Ended) -> Iterator[bytes]:
        if event.ending == "deadline":
            yield from self.fail(DEADLINE)
            return
        yield self._next(
            event.usage,
            finish=FINISH[event.ending],
            calls=client_calls(event),
            has_plugins=self._has_interpreter,
        )

    def _next(
        self,
        usage: Usage,
        *,
        text: str = "",
        thought: str = "",
        finish: str = "null",
        calls: list[dict[str, object]] | None = None,
        has_plugins: bool = False,
    ) -> bytes:
        self._number += 1
        self._told_tokens = usage.output_tokens
        if not self._options.is_incremental:
            self._text.append(text)
            self._thoughts.append(thought)
            text, thought = "".join(self._text), "".join(self._thoughts)
        output = output_json(text, thought, finish, self._options, calls)
        if self._codes:
            output["tool_info"] = [
                {"code_interpreter": {"code": code}, "type": "code_interpreter"}
                for code in self._codes
            ]
        data = {
            "output": output,
            "usage": usage_json(
                usage,
                count=len(self._codes),
                has_plugins=has_plugins or bool(self._codes),
                searches=self._searches,
            ),
            "request_id": self._request_id,
        }
        frame = f"id:{self._number}\nevent:result\n:HTTP_STATUS/200\ndata:{compact(data)}\n\n"
        return frame.encode()


def output_json(
    text: str,
    thought: str,
    finish: str,
    options: DashScopeOptions,
    calls: list[dict[str, object]] | None = None,
) -> dict[str, object]:
    """`output` in the asked format."""
    if options.is_text:
        return {"text": text, "finish_reason": finish}
    message: dict[str, object] = {
        "content": text,
        "reasoning_content": thought,
        "role": "assistant",
    }
    if calls:
        message["tool_calls"] = calls
    return {"choices": [{"message": message, "finish_reason": finish}]}


def client_calls(ended: Ended) -> list[dict[str, object]]:
    """Calls that the client has to answer."""
    if ended.ending != "client_calls":
        return []
    turn = ended.turns[-1]
    answered = {result.call_id for result in turn.results}
    waiting = [call for call in turn.calls if call.id not in answered]
    return [
        {
            "index": index,
            "id": call.id,
            "type": "function",
            "function": {"name": call.name, "arguments": call.arguments},
        }
        for index, call in enumerate(waiting)
    ]


def generation(
    ended: Ended, parsed: ParsedRequest, options: DashScopeOptions, *, request_id: str
) -> Mapping[str, object]:
    """The whole answer of a request that did not stream."""
    text = "".join(turn.text for turn in ended.turns)
    thought = "".join(turn.reasoning for turn in ended.turns)
    finish = FINISH.get(ended.ending, "stop")
    return {
        "output": output_json(text, thought, finish, options, client_calls(ended)),
        "usage": usage_json(
            ended.usage,
            count=0,
            has_plugins=parsed.has_interpreter,
            searches=ended.counts.get("web_search", 0),
        ),
        "request_id": request_id,
    }
