"""Presets: what the makers of endpoints are known to want otherwise, one row a maker.

A preset is found by the endpoint's host, or named in the config. Whatever it does not know, the
first refusal teaches (see `adaptation`).
"""

from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import urlsplit

from runner.config import ThinkingField


class Preset(NamedTuple):
    """How requests to one maker's endpoint differ."""

    name: str
    hosts: tuple[str, ...] = ()
    """Ends of host names. Local servers have none and are named in the config."""
    omit: tuple[str, ...] = ()
    rename: Mapping[str, str] = {}
    thinking_field: ThinkingField = "none"
    key_header: str = "authorization"


NEWER_LIMIT = {"max_tokens": "max_completion_tokens"}
PRESETS = (
    Preset("openai", ("api.openai.com",), rename=NEWER_LIMIT),
    Preset(
        "azure",
        (".openai.azure.com", ".services.ai.azure.com", ".cognitiveservices.azure.com"),
        rename=NEWER_LIMIT,
        key_header="api-key",
    ),
    Preset(
        "mistral",
        ("api.mistral.ai",),
        omit=("stream_options", "user", "service_tier", "top_logprobs", "logprobs"),
        rename={"seed": "random_seed"},
    ),
    Preset("deepseek", ("api.deepseek.com",), omit=("parallel_tool_calls", "strict")),
    Preset("dashscope", (".aliyuncs.com",), thinking_field="enable_thinking"),
    Preset("openrouter", ("openrouter.ai",)),
    Preset("vllm", thinking_field="chat_template_kwargs"),
    Preset("sglang", thinking_field="chat_template_kwargs"),
    Preset("llamacpp", thinking_field="chat_template_kwargs"),
    Preset("ollama", ("ollama.com",), omit=("parallel_tool_calls", "strict")),
    Preset("lmstudio", omit=("parallel_tool_calls", "strict")),
    Preset("tgi", omit=("stream_options", "parallel_tool_calls", "strict", "user")),
    Preset("litellm"),
)
PLAIN = Preset("none")
BY_NAME = {preset.name: preset for preset in (*PRESETS, PLAIN)}


def preset_for(url: str, name: str = "") -> Preset:
    """The preset `name`, or without one that of the host in `url`. Raises KeyError."""
    if name:
        return BY_NAME[name]
    host = (urlsplit(url).hostname or "").lower()
    for preset in PRESETS:
        if any(host == end or host.endswith(_dotted(end)) for end in preset.hosts):
            return preset
    return PLAIN


def _dotted(end: str) -> str:
    return end if end.startswith(".") else f".{end}"
