"""Fields of OpenAI's two schemas that this server does not act on itself.

Each is passed on to the model's endpoint, or refused by its name unless its value asks for nothing:
none is accepted and ignored. The fields that the server honours are read where they are used.
"""

from collections.abc import Mapping
from typing import NamedTuple

from pydantic import JsonValue

from runner.dialects.fields import Fields

PASSED_BY_BOTH = (
    "user",
    "service_tier",
    "safety_identifier",
    "prompt_cache_key",
    "prompt_cache_options",
    "prompt_cache_retention",
)
PASSED_BY_CHAT = (
    *PASSED_BY_BOTH,
    "chat_template_kwargs",
    "logit_bias",
    "metadata",
    "min_p",
    "moderation",
    "prediction",
    "repetition_penalty",
    "reasoning",
    "store",
    "thinking",
    "verbosity",
    "web_search_options",
)
PASSED_BY_DASHSCOPE = (
    "chat_template_kwargs",
    "logit_bias",
    "min_p",
    "repetition_penalty",
    "vl_high_resolution_images",
)


class Refusal(NamedTuple):
    """Why a field is refused, and the values that ask for nothing."""

    why: str
    neutral: tuple[JsonValue, ...] = ()


NOT_HERE = "is not supported by this server"
REFUSED_BY_CHAT: Mapping[str, Refusal] = {
    "audio": Refusal(f"{NOT_HERE}: answers are text"),
    "modalities": Refusal("must be ['text']", (["text"], [])),
    "logprobs": Refusal(NOT_HERE, (False,)),
    "top_logprobs": Refusal(NOT_HERE, (0,)),
    "functions": Refusal("is not supported by this server; send tools", ([],)),
    "function_call": Refusal("is not supported by this server; send tool_choice", ("auto", "none")),
    "n": Refusal("must be 1", (1,)),
}
REFUSED_BY_RESPONSES: Mapping[str, Refusal] = {
    "access_programs": Refusal(NOT_HERE, ([], {})),
    "background_options": Refusal(NOT_HERE, ({},)),
    "context_management": Refusal(NOT_HERE, ([],)),
    "image": Refusal(NOT_HERE),
    "moderation": Refusal(NOT_HERE),
    "prompt": Refusal("is not supported by this server: it keeps no prompts"),
    "top_logprobs": Refusal(NOT_HERE, (0,)),
}
REFUSED_BY_DASHSCOPE: Mapping[str, Refusal] = {
    "asr_options": Refusal(NOT_HERE),
    "audio": Refusal(f"{NOT_HERE}: answers are text"),
    "logprobs": Refusal(NOT_HERE, (False,)),
    "max_input_tokens": Refusal(f"{NOT_HERE}: nothing of a conversation is cut off"),
    "modalities": Refusal("must be ['text']", (["text"], [])),
    "skill": Refusal(NOT_HERE, ([],)),
    "top_logprobs": Refusal(NOT_HERE, (0,)),
    "translation_options": Refusal(NOT_HERE, ({},)),
}
DIRECT: tuple[JsonValue, ...] = (["direct"], [])
REFUSED_IN_FUNCTIONS: Mapping[str, Refusal] = {
    "allowed_callers": Refusal(f"{NOT_HERE}: functions are called by the model", DIRECT),
    "async": Refusal(NOT_HERE, (False,)),
    "defer_loading": Refusal(NOT_HERE, (False,)),
    "output_schema": Refusal(NOT_HERE),
}
REFUSED_IN_INTERPRETERS: Mapping[str, Refusal] = {
    "allowed_callers": Refusal(f"{NOT_HERE}: the interpreter is called by the model", DIRECT),
}
REFUSED_IN_SEARCHES: Mapping[str, Refusal] = {
    "external_web_access": Refusal(f"{NOT_HERE}: a search asks the web", (True,)),
    "filters": Refusal(NOT_HERE, ({},)),
    "search_content_types": Refusal(f"{NOT_HERE}: results are text", (["text"], [])),
    "search_context_size": Refusal(NOT_HERE, ("medium",)),
    "user_location": Refusal(NOT_HERE),
}
REFUSED_IN_REASONING: Mapping[str, Refusal] = {
    "context": Refusal(NOT_HERE, ("auto",)),
    "mode": Refusal(NOT_HERE, ("standard",)),
}
REFUSED_IN_PARTS: Mapping[str, Refusal] = {
    "prompt_cache_breakpoint": Refusal(f"{NOT_HERE}; a request has prompt_cache_key"),
}
REFUSED_IN_FILES: Mapping[str, Refusal] = {
    **REFUSED_IN_PARTS,
    "detail": Refusal(NOT_HERE, ("auto",)),
}
REFUSED_IN_MESSAGES: Mapping[str, Refusal] = {
    "audio": Refusal(f"{NOT_HERE}: what was said has to stand in content"),
    "partial": Refusal(f"{NOT_HERE}: a model begins its answer anew", (False,)),
    "prefix": Refusal(f"{NOT_HERE}: a model begins its answer anew", (False,)),
}
REFUSED_IN_CALLS: Mapping[str, Refusal] = {
    "async": Refusal(NOT_HERE, (False,)),
    "caller": Refusal(NOT_HERE, ({"type": "direct"},)),
    "namespace": Refusal(NOT_HERE),
}
INCLUDABLE = (
    "file_search_call.results",
    "web_search_call.results",
    "web_search_call.action.sources",
    "message.input_image.image_url",
    "computer_call_output.output.image_url",
    "code_interpreter_call.outputs",
    # This server's own: tables, bill, refusals and layers of each run.
    "code_interpreter_call.x_outcome",
    "reasoning.encrypted_content",
)
"""What may be asked to be included; of items that this server never makes there is nothing."""


def refuse(fields: Fields, table: Mapping[str, Refusal]) -> None:
    """Raise RequestError for a field of `table` that asks for something."""
    for name, refusal in table.items():
        value = fields.data.get(name)
        if value is None or any(_same(value, one) for one in refusal.neutral):
            continue
        raise fields.wrong(name, refusal.why)


def _same(value: JsonValue, other: JsonValue) -> bool:
    return value == other and isinstance(value, bool) == isinstance(other, bool)


def passed_on(fields: Fields, names: tuple[str, ...]) -> dict[str, JsonValue]:
    """The fields `names` that the request has, for the model's endpoint."""
    return {name: value for name in names if (value := fields.data.get(name)) is not None}


def check_stream_options(fields: Fields) -> None:
    """Refuse padding of the stream, which is not made here. Raises RequestError."""
    options = fields.object("stream_options")
    if options is not None and options.flag("include_obfuscation"):
        raise options.wrong("include_obfuscation", NOT_HERE)


def included(fields: Fields) -> tuple[str, ...]:
    """The field `include`. Raises RequestError for what cannot be included."""
    found = fields.strings("include")
    for name in found:
        if name not in INCLUDABLE:
            raise fields.wrong("include", f"has {name!r}, which cannot be included")
    return found
