"""What the OpenAPI document says of the requests of the three dialects.

The dialects check by themselves, in their own words; this is the same in JSON Schema, with the
rules that join two fields. Fields that are accepted and ignored are left out.
"""

from runner.dialects.fields import NAME_CHARS
from runner.dialects.schema_fields import INCLUDABLE
from runner.server.http.openapi_bodies import FUNCTION_ITEMS, OpenApi

MOST = 2**53
EFFORTS = ["none", "minimal", "low", "medium", "high", "xhigh", "max"]


def body_of(schema: OpenApi, **more: object) -> OpenApi:
    """`openapi_extra` of a route that reads `schema`."""
    content: OpenApi = {"application/json": {"schema": schema}}
    return {"requestBody": {"required": True, "content": content}, **more}  # type: ignore[dict-item]


def text(**more: object) -> OpenApi:
    return {"type": "string", **more}  # type: ignore[dict-item]


def maybe(schema: OpenApi) -> OpenApi:
    """`schema`, or null, which means not given."""
    return {"anyOf": [schema, {"type": "null"}]}


def record(required: list[str], **properties: OpenApi) -> OpenApi:
    return {"type": "object", "required": list(required), "properties": dict(properties)}


def array(items: OpenApi, *, least: int = 0) -> OpenApi:
    return {"type": "array", "minItems": least, "items": items}


def one_of(*names: str) -> OpenApi:
    return {"type": "string", "enum": list(names)}


def number(**bounds: float) -> OpenApi:
    return {"type": "number", **bounds}


def whole(least: int = 0, most: int = MOST) -> OpenApi:
    return {"type": "integer", "minimum": least, "maximum": most}


def when(name: str, **then: OpenApi) -> OpenApi:
    """Return a rule: with the switch `name` on, `then` holds; those of its fields must be given."""
    is_on: OpenApi = {"properties": {name: {"const": True}}, "required": [name]}
    needed = [field for field, schema in then.items() if "const" in schema]
    return {"if": is_on, "then": {"properties": dict(then), "required": list(needed)}}


FLAG: OpenApi = {"type": "boolean"}
MODEL = text(minLength=1, maxLength=NAME_CHARS)
FUNCTION = record(["name"], name=MODEL, description=text(), parameters={"type": "object"})
FUNCTION_TOOL = record(["type", "function"], type=one_of("function"), function=FUNCTION)
MESSAGE = record(
    ["role"], role=one_of("system", "developer", "user", "assistant"), content=maybe(text())
)
SAMPLING: dict[str, OpenApi] = {
    "temperature": maybe(number(minimum=0, maximum=2)),
    "top_p": maybe(number(exclusiveMinimum=0, maximum=1)),
    "top_k": maybe(whole()),
    "seed": maybe(whole(-MOST)),
    "presence_penalty": maybe(number(minimum=-2, maximum=2)),
    "frequency_penalty": maybe(number(minimum=-2, maximum=2)),
    "stop": maybe({"anyOf": [text(), array(text())]}),
    "n": maybe(whole(1, 1)),
}
CHOICE = maybe(one_of("auto", "none", "required"))
SEARCH: dict[str, OpenApi] = {
    "enable_search": maybe(FLAG),
    "search_options": maybe(record([], search_strategy=maybe(text()))),
}
FORMAT = maybe(record(["type"], type=one_of("text", "json_object", "json_schema")))
NONE: OpenApi = {"anyOf": [{"type": "array", "maxItems": 0}, {"type": "null"}]}
TRUE: OpenApi = {"const": True}

CONTAINER: OpenApi = {
    "anyOf": [
        text(maxLength=64),
        record(
            ["type"],
            type=one_of("auto"),
            file_ids=maybe(array(text())),
            memory_limit=maybe(one_of("1g", "4g", "16g", "64g")),
        ),
        {"type": "null"},
    ]
}
INTERPRETER = record(["type"], type=one_of("code_interpreter"), container=CONTAINER)

# ---- Chat Completions ---------------------------------------------------------------------------


def _chat(tool: OpenApi, **with_code: OpenApi) -> OpenApi:
    """The body of Chat with such a `tool`; `with_code` holds where the interpreter is turned on."""
    return body_of(
        {
            **record(
                ["model", "messages"],
                model=MODEL,
                messages=array(MESSAGE, least=1),
                stream=maybe(FLAG),
                stream_options=maybe(
                    record([], include_usage=maybe(FLAG), include_tool_info=maybe(FLAG))
                ),
                tools=maybe(array(tool)),
                tool_choice=CHOICE,
                parallel_tool_calls=maybe(FLAG),
                response_format=FORMAT,
                max_tokens=maybe(whole(1)),
                max_completion_tokens=maybe(whole(1)),
                enable_code_interpreter=maybe(FLAG),
                enable_thinking=maybe(FLAG),
                thinking_budget=maybe(whole(1)),
                reasoning_effort=maybe(text()),
                **SEARCH,
                **SAMPLING,
            ),
            "allOf": [
                when("enable_code_interpreter", **with_code),
                when(
                    "enable_thinking",
                    response_format=maybe(record(["type"], type=one_of("text"))),
                ),
            ],
        }
    )


CHAT = _chat({"anyOf": [FUNCTION_TOOL, INTERPRETER]}, tools=maybe(array(INTERPRETER)))
STUDIO_CHAT = _chat(FUNCTION_TOOL, enable_thinking=TRUE, stream=TRUE, tools=NONE)

# ---- DashScope ----------------------------------------------------------------------------------

PARAMETERS: OpenApi = {
    **record(
        [],
        result_format=maybe(one_of("text", "message")),
        incremental_output=maybe(FLAG),
        enable_code_interpreter=maybe(FLAG),
        enable_thinking=maybe(FLAG),
        thinking_budget=maybe(whole(1)),
        max_tokens=maybe(whole(1)),
        tools=maybe(array(FUNCTION_TOOL)),
        tool_choice=CHOICE,
        response_format=FORMAT,
        **SEARCH,
        **SAMPLING,
    ),
    "allOf": [
        when("enable_code_interpreter", enable_thinking=TRUE, tools=NONE),
        when(
            "enable_thinking",
            result_format=maybe(one_of("message")),
            incremental_output={"enum": [True, None]},
        ),
    ],
}
GENERATION = body_of(
    record(
        ["model", "input"],
        model=MODEL,
        input={
            "anyOf": [
                record(["messages"], messages=array(MESSAGE, least=1)),
                record(["prompt"], prompt=text(minLength=1), messages=NONE),
            ]
        },
        parameters=maybe(PARAMETERS),
    ),
    parameters=[
        {
            "name": "X-DashScope-SSE",
            "in": "header",
            "description": "`enable` asks for a stream, which the code interpreter needs.",
            "schema": one_of("enable", "disable"),
        }
    ],
)

# ---- Responses ----------------------------------------------------------------------------------

WEB_TOOL = record(["type"], type=one_of("web_search", "web_search_preview", "web_extractor"))
OWN_FUNCTION = record(["type", "name"], type=one_of("function"), name=MODEL)
ITEM: OpenApi = {"anyOf": [{**MESSAGE, "not": {"required": ["type"]}}, *FUNCTION_ITEMS]}
COMPACT = body_of(
    record(
        ["model", "input"],
        model=MODEL,
        input={"anyOf": [text(), array(ITEM, least=1)]},
        instructions=maybe(text()),
        previous_response_id=maybe(text()),
    )
)
RESPONSE = body_of(
    {
        **record(
            ["model", "input"],
            model=MODEL,
            input={"anyOf": [text(), array(ITEM, least=1)]},
            tools=maybe(
                {
                    "anyOf": [
                        array({"anyOf": [INTERPRETER, WEB_TOOL]}),
                        array({"anyOf": [OWN_FUNCTION, WEB_TOOL]}),
                    ]
                }
            ),
            tool_choice=CHOICE,
            stream=maybe(FLAG),
            instructions=maybe(text()),
            previous_response_id=maybe(text()),
            conversation={"anyOf": [text(), record(["id"], id=text()), {"type": "null"}]},
            store=maybe(FLAG),
            background=maybe(FLAG),
            include=maybe(array(one_of(*INCLUDABLE))),
            metadata=maybe(
                {
                    "type": "object",
                    "maxProperties": 16,
                    "propertyNames": {"maxLength": 64},
                    "additionalProperties": text(maxLength=512),
                }
            ),
            max_tool_calls=maybe(whole()),
            max_output_tokens=maybe(whole(1)),
            enable_thinking=maybe(FLAG),
            thinking_budget=maybe(whole(1)),
            reasoning=maybe(record([], effort=maybe(one_of(*EFFORTS)), summary=maybe(text()))),
            parallel_tool_calls=maybe(FLAG),
            text=maybe(record([], format=FORMAT)),
            user=maybe(text()),
            temperature=SAMPLING["temperature"],
            top_p=SAMPLING["top_p"],
        ),
        "allOf": [when("background", store={"enum": [True, None]})],
        "description": (
            "The code interpreter thinks: `enable_thinking` false or `reasoning.effort` none beside"
            " it is refused, and so are `previous_response_id` and `conversation` together."
        ),
    }
)
