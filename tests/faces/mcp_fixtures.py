"""Tools, resources and prompts that the conformance suite of the Model Context Protocol asks for.

They are put beside Cellblock's own tools, on its own doors, for the suite alone: what is tested
with them is what stands between a client and any tool. Their names and texts are the suite's.
"""

import base64
import struct
import zlib
from collections.abc import Callable, Mapping
from typing import Any

import anyio
from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.prompts.base import Message, UserMessage
from mcp.shared.exceptions import MCPError
from mcp_types import (
    AudioContent,
    ClientCapabilities,
    Completion,
    CreateMessageRequest,
    CreateMessageRequestParams,
    CreateMessageResult,
    ElicitRequest,
    ElicitRequestFormParams,
    ElicitResult,
    EmbeddedResource,
    EmptyResult,
    ImageContent,
    InputRequest,
    InputRequiredResult,
    ListRootsRequest,
    ListRootsResult,
    MissingRequiredClientCapabilityErrorData,
    SamplingCapability,
    SamplingMessage,
    SetLevelRequestParams,
    SubscribeRequestParams,
    TextContent,
    TextResourceContents,
    UnsubscribeRequestParams,
)

PAUSE_S = 0.05
MISSING_CAPABILITY = -32021
Server = MCPServer[Any]


def _png() -> str:
    """A red pixel."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        sum_ = zlib.crc32(kind + data)
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", sum_)

    header = struct.pack(">IIBBBBB", 1, 1, 8, 2, 0, 0, 0)
    rows = zlib.compress(b"\x00\xff\x00\x00")
    parts = chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    return base64.b64encode(b"\x89PNG\r\n\x1a\n" + parts).decode()


def _wav() -> str:
    """A moment of silence."""
    data = b"\x80" * 8
    head = struct.pack(
        "<4sI4s4sIHHIIHH", b"RIFF", 36 + 8, b"WAVE", b"fmt ", 16, 1, 1, 8000, 8000, 1, 8
    )
    return base64.b64encode(head + struct.pack("<4sI", b"data", 8) + data).decode()


PNG = _png()
WAV = _wav()


def add(server: Server) -> Server:
    """Put all of them on a server; the server."""
    for adds in (_contents, _talking, _asking, _older, _state, _resources, _prompts):
        adds(server)
    return server


def _text(text: str) -> TextContent:
    return TextContent(type="text", text=text)


def _image() -> ImageContent:
    return ImageContent(type="image", data=PNG, mime_type="image/png")


def _embedded(uri: str, kind: str, text: str) -> EmbeddedResource:
    resource = TextResourceContents(uri=uri, mime_type=kind, text=text)
    return EmbeddedResource(type="resource", resource=resource)


# ---- tools --------------------------------------------------------------------------------------


def _contents(server: Server) -> None:
    def tool(name: str, *content: Any) -> None:
        def give() -> list[Any]:
            """Give what the suite looks for."""
            return list(content)

        server.tool(name=name, structured_output=False)(give)

    tool("test_simple_text", _text("This is a simple text response for testing."))
    tool("test_image_content", _image())
    tool("test_audio_content", AudioContent(type="audio", data=WAV, mime_type="audio/wav"))
    embedded = ("test://embedded-resource", "text/plain", "This is an embedded resource content.")
    tool("test_embedded_resource", _embedded(*embedded))
    mixed = ("test://mixed-content-resource", "application/json", '{"test":"data","value":123}')
    tool(
        "test_multiple_content_types",
        _text("Multiple content types test:"),
        _image(),
        _embedded(*mixed),
    )

    @server.tool()
    def test_error_handling() -> str:
        """Fail."""
        raise ValueError("This tool intentionally returns an error for testing")


def _talking(server: Server) -> None:
    @server.tool()
    async def test_tool_with_logging(ctx: Context) -> str:
        """Say three things while it runs."""
        for said in ("started", "processing data", "completed"):
            words = f"Tool {said}" if said.startswith("processing") else f"Tool execution {said}"
            await ctx.info(words)
            await anyio.sleep(PAUSE_S)
        return "said"

    @server.tool()
    async def test_logging_tool(ctx: Context) -> str:
        """Say something, which is told to those alone that asked."""
        await ctx.info("said")
        return "said"

    @server.tool()
    async def test_tool_with_progress(ctx: Context) -> str:
        """Tell how far it is."""
        for done in (0, 50, 100):
            await ctx.report_progress(done, 100)
            await anyio.sleep(PAUSE_S)
        return "done"

    @server.tool()
    async def test_missing_capability(ctx: Context) -> str:
        """Do what needs a client that samples."""
        if (known := ctx.client_capabilities) is not None and known.sampling is not None:
            return "sampled"
        wanted = ClientCapabilities(sampling=SamplingCapability())
        data = MissingRequiredClientCapabilityErrorData(required_capabilities=wanted)
        told = data.model_dump(by_alias=True, exclude_none=True)
        raise MCPError(MISSING_CAPABILITY, "The client does not sample", told)

    @server.tool()
    async def test_trigger_tool_change(ctx: Context) -> str:
        """Tell that the tools changed."""
        await ctx.notify_tools_changed()
        return "told"

    @server.tool()
    async def test_trigger_prompt_change(ctx: Context) -> str:
        """Tell that the prompts changed."""
        await ctx.notify_prompts_changed()
        return "told"


# ---- questions, in the revisions that have connections -------------------------------------------

NAMED = {"username": "User's response", "email": "User's email address"}
DEFAULTS = {
    "name": {"type": "string", "default": "John Doe"},
    "age": {"type": "integer", "default": 30},
    "score": {"type": "number", "default": 95.5},
    "status": {"type": "string", "enum": ["active", "inactive", "pending"], "default": "active"},
    "verified": {"type": "boolean", "default": True},
}
PLAIN = ["option1", "option2", "option3"]
TITLED = [("value1", "First"), ("value2", "Second"), ("value3", "Third")]
LEGACY = {
    "enum": ["opt1", "opt2", "opt3"],
    "enumNames": ["Option One", "Option Two", "Option Three"],
}
ENUMS = {
    "untitledSingle": {"type": "string", "enum": PLAIN},
    "titledSingle": {
        "type": "string",
        "oneOf": [{"const": value, "title": f"{title} Option"} for value, title in TITLED],
    },
    "legacyEnum": {"type": "string", **LEGACY},
    "untitledMulti": {"type": "array", "items": {"type": "string", "enum": PLAIN}},
    "titledMulti": {
        "type": "array",
        "items": {
            "anyOf": [{"const": value, "title": f"{title} Choice"} for value, title in TITLED]
        },
    },
}


def _schema(properties: Mapping[str, Any], required: list[str] | None = None) -> dict[str, Any]:
    return {"type": "object", "properties": dict(properties), "required": required or []}


def _asking(server: Server) -> None:
    async def ask(ctx: Context, message: str, schema: dict[str, Any], words: str) -> str:
        number = ctx.request_id
        found = await ctx.session.elicit_form(message, schema, related_request_id=number)
        return f"{words}: action={found.action}, content={found.content}"

    @server.tool()
    async def test_sampling(ctx: Context, prompt: str) -> str:
        """Ask the client's model."""
        message = SamplingMessage(role="user", content=_text(prompt))
        found = await ctx.session.create_message(
            [message], max_tokens=100, related_request_id=ctx.request_id
        )
        assert isinstance(found.content, TextContent)
        return f"LLM response: {found.content.text}"

    @server.tool()
    async def test_elicitation(ctx: Context, message: str) -> str:
        """Ask the user."""
        properties = {
            name: {"type": "string", "description": words} for name, words in NAMED.items()
        }
        return await ask(ctx, message, _schema(properties, list(NAMED)), "User response")

    @server.tool()
    async def test_elicitation_sep1034_defaults(ctx: Context) -> str:
        """Ask the user, with defaults."""
        return await ask(ctx, "Check the defaults", _schema(DEFAULTS), "Elicitation completed")

    @server.tool()
    async def test_elicitation_sep1330_enums(ctx: Context) -> str:
        """Ask the user to choose."""
        return await ask(ctx, "Choose", _schema(ENUMS), "Elicitation completed")


def _older(server: Server) -> None:
    """What the package has no decorator for, in the revisions that have connections."""

    async def nothing(_ctx: Any, _params: Any) -> EmptyResult:
        return EmptyResult()

    lowlevel = server._lowlevel_server
    lowlevel.add_request_handler("logging/setLevel", SetLevelRequestParams, nothing)
    lowlevel.add_request_handler("resources/subscribe", SubscribeRequestParams, nothing)
    lowlevel.add_request_handler("resources/unsubscribe", UnsubscribeRequestParams, nothing)

    @server.completion()
    async def complete(_ref: Any, _argument: Any, _context: Any) -> Completion:
        return Completion(values=["paris", "park", "party"], total=3, has_more=False)


# ---- questions, in the revision that has none ----------------------------------------------------


def _question(message: str, **properties: str) -> ElicitRequest:
    schema = _schema({name: {"type": kind} for name, kind in properties.items()}, list(properties))
    params = ElicitRequestFormParams(message=message, requested_schema=schema)
    return ElicitRequest(params=params)


def _sample(words: str) -> CreateMessageRequest:
    message = SamplingMessage(role="user", content=_text(words))
    return CreateMessageRequest(
        params=CreateMessageRequestParams(messages=[message], max_tokens=100)
    )


NAME = _question("What is your name?", name="string")
CAPITAL = _sample("What is the capital of France?")
ROOTS = ListRootsRequest()
KINDS = ((ElicitRequest, ElicitResult), (CreateMessageRequest, CreateMessageResult))


def _answers(ctx: Context, wanted: Mapping[str, InputRequest]) -> dict[str, Any] | None:
    """The answers to all that is wanted, or None."""
    given = ctx.input_responses or {}
    found = {}
    for name, request in wanted.items():
        kind = next((answer for asked, answer in KINDS if isinstance(request, asked)), None)
        if not isinstance(answer := given.get(name), kind or ListRootsResult):
            return None
        if isinstance(answer, ElicitResult) and answer.content is None:
            return None
        found[name] = answer
    return found


def _state(server: Server) -> None:
    def tool(
        name: str, wanted: Mapping[str, InputRequest], said: Callable[[Any], str], state: str | None
    ) -> None:
        async def ask(ctx: Context) -> str | InputRequiredResult:
            """Ask, and answer when all is there."""
            found = _answers(ctx, wanted)
            if found is None or (state is not None and ctx.request_state != state):
                return InputRequiredResult(input_requests=dict(wanted), request_state=state)
            return said(found)

        server.tool(name=f"test_input_required_result_{name}", structured_output=False)(ask)

    confirm = {"confirm": _question("Please confirm", ok="boolean")}
    several = {"user_name": NAME, "greeting": _sample("Generate a greeting"), "client_roots": ROOTS}
    tool(
        "elicitation",
        {"user_name": NAME},
        lambda found: f"Hello, {found['user_name'].content.get('name')}!",
        None,
    )
    tool(
        "sampling",
        {"capital_question": CAPITAL},
        lambda found: found["capital_question"].content.text,
        None,
    )
    tool(
        "list_roots",
        {"client_roots": ROOTS},
        lambda found: ", ".join(str(root.uri) for root in found["client_roots"].roots),
        None,
    )
    tool("request_state", confirm, lambda _found: "state-ok", "asked")
    tool("tampered_state", confirm, lambda _found: "state-ok", "asked")
    tool("multiple_inputs", several, lambda found: f"{len(found)} answers", "asked")

    steps = {
        "step1": _question("Step 1: What is your name?", name="string"),
        "step2": _question("Step 2: What is your favorite color?", color="string"),
    }

    @server.tool(structured_output=False)
    async def test_input_required_result_multi_round(ctx: Context) -> str | InputRequiredResult:
        """Ask twice."""
        for step, state in (("step2", "second"), ("step1", "first")):
            if ctx.request_state == state and _answers(ctx, {step: steps[step]}) is not None:
                if step == "step2":
                    return "Thank you"
                return InputRequiredResult(
                    input_requests={"step2": steps["step2"]}, request_state="second"
                )
        return InputRequiredResult(input_requests={"step1": steps["step1"]}, request_state="first")

    @server.tool(structured_output=False)
    async def test_input_required_result_capabilities(ctx: Context) -> str | InputRequiredResult:
        """Ask only what the client can answer."""
        known = ctx.client_capabilities or ClientCapabilities()
        wanted: dict[str, InputRequest] = {}
        if known.sampling is not None:
            wanted["capital_question"] = CAPITAL
        if known.elicitation is not None:
            wanted["user_name"] = NAME
        return InputRequiredResult(input_requests=wanted) if wanted else "nothing to ask"

    @server.tool(structured_output=False)
    async def test_streaming_elicitation(ctx: Context) -> str | InputRequiredResult:
        """Ask after a while."""
        await ctx.report_progress(1, 2)
        if _answers(ctx, {"user_name": NAME}) is None:
            return InputRequiredResult(input_requests={"user_name": NAME})
        return "answered"

    @server.prompt()
    async def test_input_required_result_prompt(
        ctx: Context,
    ) -> list[Message] | InputRequiredResult:
        """Ask before there is a prompt."""
        wanted = {
            "user_context": _question("What context should the prompt use?", context="string")
        }
        if (found := _answers(ctx, wanted)) is None:
            return InputRequiredResult(input_requests=dict(wanted))
        return [UserMessage(_text(str(found["user_context"].content)))]


# ---- resources and prompts ----------------------------------------------------------------------


def _resources(server: Server) -> None:
    @server.resource("test://static-text", mime_type="text/plain")
    def static_text() -> str:
        """Text that stays."""
        return "This is the content of the static text resource."

    @server.resource("test://static-binary", mime_type="image/png")
    def static_binary() -> bytes:
        """Bytes that stay."""
        return base64.b64decode(PNG)

    @server.resource("test://watched-resource", mime_type="text/plain")
    def watched() -> str:
        """Text that a client watches."""
        return "watched"

    @server.resource("test://template/{id}/data", mime_type="application/json")
    def of_template(id: str) -> str:
        """Data by number."""
        return f'{{"id":"{id}","templateTest":true,"data":"Data for ID: {id}"}}'


def _prompts(server: Server) -> None:
    @server.prompt()
    def test_simple_prompt() -> list[Message]:
        """A prompt."""
        return [UserMessage(_text("This is a simple prompt for testing."))]

    @server.prompt()
    def test_prompt_with_arguments(arg1: str, arg2: str) -> list[Message]:
        """A prompt of two words."""
        return [UserMessage(_text(f"Prompt with arguments: arg1='{arg1}', arg2='{arg2}'"))]

    @server.prompt(name="test_prompt_with_embedded_resource")
    def with_resource(resourceUri: str) -> list[Message]:
        """A prompt that has a resource."""
        embedded = _embedded(resourceUri, "text/plain", "Embedded resource content for testing.")
        return [
            UserMessage(embedded),
            UserMessage(_text("Please process the embedded resource above.")),
        ]

    @server.prompt()
    def test_prompt_with_image() -> list[Message]:
        """A prompt that has an image."""
        return [UserMessage(_image()), UserMessage(_text("Please analyze the image above."))]
