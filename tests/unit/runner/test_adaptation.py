"""Fields that endpoints will not have: learned once from a refusal, left out by the config."""

import json

import httpx2
import pytest

from runner.config import ANY, ModelSettings
from runner.errors import UpstreamError
from runner.models.directory import Directory
from runner.models.openai_compatible import Endpoint, OpenAICompatible
from runner.models.port import ModelRequest, Sampling, ToolSpec
from runner.models.upstream.presets import PRESETS, preset_for
from runner.transcript import Question

TOOL = ToolSpec(name="look", description="", parameters={}, strict=True)
REQUEST = ModelRequest(
    entries=(Question(text="Hello?"),), model="one", tools=(TOOL,), parallel_calls=False,
    sampling=Sampling(temperature=0.5, stop=("END",)), max_tokens=50,
)  # fmt: skip
FINE = 'data: {"choices":[{"index":0,"delta":{"content":"ok"},"finish_reason":"stop"}]}\n\n'


def fastapi(*place):
    return 422, {"detail": [{"type": "extra_forbidden", "loc": ["body", *place],
                             "msg": "Extra inputs are not permitted"}]}  # fmt: skip


def openai(message, param=None, status=400):
    return status, {"error": {"message": message, "type": "invalid_request_error", "param": param}}


REFUSALS = {  # how it says it: field, (status, body), the name that is sent in its place
    "stream_options, as FastAPI": ("stream_options", fastapi("stream_options", "x"), None),
    "stream_options, inside Mistral's envelope": ("stream_options", (422, {
        "object": "error", "message": fastapi("stream_options")[1], "param": None}), None),
    "stream_options, in words": ("stream_options", (400, {
        "error": "stream_options is not supported by this server"}), None),
    "stream_options, as plain text": ("stream_options", (500, "unexpected keyword argument "
                                                         "'stream_options'"), None),
    "max_tokens": ("max_tokens", openai(
        "Unsupported parameter: 'max_tokens' is not supported with this model. Use "
        "'max_completion_tokens' instead.", "max_tokens"), "max_completion_tokens"),
    "temperature": ("temperature", openai(
        "Unsupported value: 'temperature' does not support 0.5 with this model. Only the default "
        "(1) value is supported.", "temperature"), None),
    "parallel_tool_calls": ("parallel_tool_calls", openai(
        "Unrecognized request argument supplied: parallel_tool_calls"), None),
    "temperature beside top_p, as Anthropic": ("temperature", openai(
        "`temperature` and `top_p` cannot both be specified for this model."), None),
    "parallel_tool_calls, as Gemini": ("parallel_tool_calls", (400, [{"error": {
        "code": 400, "status": "INVALID_ARGUMENT", "message": "Invalid JSON payload received. "
        'Unknown name "parallel_tool_calls": Cannot find field.'}}]), None),
    "stream_options, as TGI": ("stream_options", (422, "Failed to deserialize the JSON body into "
                               "the target type: unknown field `stream_options`, expected one of "
                               "`max_tokens`, `temperature`, `parallel_tool_calls`"), None),
    "strict, as Rust": ("strict", (400, {"error": "tools[0].function: unknown field `strict`, "
                                         "expected one of `name`, `temperature`"}), None),
    "stream_options, as Groq": ("stream_options", openai(
        "property 'stream_options' is unsupported, did you mean 'stream'?"), None),
    "parallel_tool_calls, as xAI": ("parallel_tool_calls", openai(
        "Argument not supported on this model: parallelToolCalls"), None),
    "stream_options, in Chinese": ("stream_options", openai("不支持的参数: stream_options"), None),
    "tool_choice": ("tool_choice", openai("deepseek-reasoner does not support this tool_choice"),
                    None),
    "strict": ("strict", openai("Unknown parameter: 'tools[0].function.strict'.",
                                "tools[0].function.strict"), None),
}  # fmt: skip


def has(body, field):
    if field == "strict":
        return any("strict" in tool["function"] for tool in body.get("tools", ()))
    return field in body


def refusing(refused, **settings):
    """A model over an endpoint that refuses fields, and the requests that it saw.

    `refused` maps a field to the answer that a request with it gets.
    """
    seen = []

    def answer(request):
        body = json.loads(request.content)
        seen.append(body)
        for field, (status, said) in refused.items():
            if has(body, field):
                if isinstance(said, str):
                    return httpx2.Response(status, text=said)
                return httpx2.Response(status, json=said)
        return httpx2.Response(200, text=FINE)

    endpoint = Endpoint(url="http://upstream.test/v1", retries=0, **settings)
    return OpenAICompatible(endpoint, transport=httpx2.MockTransport(answer)), seen


async def ask(model, request=REQUEST):
    return [event async for event in model.stream(request)]


@pytest.mark.parametrize("how", REFUSALS)
async def test_a_refusal_is_learned_once_and_remembered(how):
    field, said, other = REFUSALS[how]
    model, seen = refusing({field: said})
    await ask(model)
    assert [has(body, field) for body in seen] == [True, False]
    if other:
        assert seen[1][other] == seen[0][field]
    await ask(model)
    assert len(seen) == 3
    assert not has(seen[2], field)


async def test_fields_are_given_up_one_after_the_other():
    model, seen = refusing({field: said for field, said, _ in REFUSALS.values()})
    await ask(model)
    assert not {"stream_options", "max_tokens", "temperature"} & set(seen[-1])
    assert seen[-1]["max_completion_tokens"] == 50
    assert seen[-1]["stop"] == ["END"]
    assert len(seen) == 7


async def test_what_is_learned_of_one_model_is_not_believed_of_another():
    model, seen = refusing({"stream_options": REFUSALS["stream_options, in words"][1]})
    await ask(model)
    await ask(model, ModelRequest(entries=REQUEST.entries, model="two"))
    assert [(body["model"], "stream_options" in body) for body in seen] == [
        ("one", True), ("one", False), ("two", True), ("two", False),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("status", "said"),
    [
        openai("max_tokens is too large: 50. This model supports at most 40.", "max_tokens"),
        openai("Invalid 'temperature': must be between 0 and 0.4.", "temperature"),
        openai("This model's maximum context length is 10 tokens, of which max_tokens are 50."),
        openai("Unsupported parameter: 'stop' is not supported with this model.", "stop"),
        openai("parallel_tool_calls is not supported for this key", status=403),
        (400, "stop is not supported"),
    ],
)
async def test_a_refusal_that_the_client_must_mend_reaches_it(status, said):
    field = "max_tokens"
    model, seen = refusing({field: (status, said)})
    with pytest.raises(UpstreamError) as caught:
        await ask(model)
    assert len(seen) == 1
    words = said if isinstance(said, str) else said["error"]["message"]
    assert words.rstrip(".") in caught.value.public


async def test_a_refusal_inside_a_stream_is_learned_as_well():
    seen = []

    def answer(request):
        body = json.loads(request.content)
        seen.append(body)
        if "stream_options" in body:
            error = {"error": {"code": 400, "message": "Unknown field: stream_options"}}
            return httpx2.Response(200, text=f"data: {json.dumps(error)}\n\n")
        return httpx2.Response(200, text=FINE)

    model = OpenAICompatible(
        Endpoint(url="http://upstream.test/v1"), transport=httpx2.MockTransport(answer)
    )
    await ask(model)
    assert len(seen) == 2


async def test_a_choice_that_is_asked_for_is_never_left_out():
    model, seen = refusing({"tool_choice": REFUSALS["tool_choice"][1]})
    await ask(model)
    forced = ModelRequest(entries=REQUEST.entries, model="one", tools=(TOOL,), tool_choice="look")
    with pytest.raises(UpstreamError):
        await ask(model, forced)
    assert "tool_choice" not in seen[1]
    assert "tool_choice" in seen[2]


async def test_the_config_leaves_out_and_renames():
    model, seen = refusing(
        {}, omit=("stream_options", "strict", "stream"), rename={"max_tokens": "limit"}
    )
    await ask(model)
    assert not {"stream_options", "stream", "max_tokens"} & set(seen[0])
    assert seen[0]["limit"] == 50
    assert "strict" not in seen[0]["tools"][0]["function"]


SENT = {  # preset: what a request to it has and what it lacks
    "openai": ({"max_completion_tokens", "stream_options"}, {"max_tokens"}),
    "azure": ({"max_completion_tokens"}, {"max_tokens"}),
    "mistral": ({"max_tokens", "random_seed"}, {"stream_options", "seed"}),
    "deepseek": ({"max_tokens", "stream_options"}, {"parallel_tool_calls"}),
    "dashscope": ({"enable_thinking"}, set()),
    "openrouter": ({"stream_options", "max_tokens"}, set()),
    "vllm": ({"chat_template_kwargs"}, {"enable_thinking"}),
    "sglang": ({"chat_template_kwargs"}, {"enable_thinking"}),
    "llamacpp": ({"chat_template_kwargs"}, {"enable_thinking"}),
    "ollama": ({"stream_options"}, {"parallel_tool_calls"}),
    "lmstudio": ({"stream_options"}, {"parallel_tool_calls"}),
    "tgi": ({"max_tokens"}, {"stream_options", "parallel_tool_calls"}),
    "litellm": ({"stream_options", "parallel_tool_calls"}, set()),
}


@pytest.mark.parametrize("name", [preset.name for preset in PRESETS])
async def test_each_preset_sends_what_its_maker_takes(name, monkeypatch):
    seen = []

    def answer(request):
        seen.append(request)
        return httpx2.Response(200, text=FINE)

    def made(endpoint):
        return OpenAICompatible(endpoint, transport=httpx2.MockTransport(answer))

    monkeypatch.setattr("runner.models.openai_compatible.OpenAICompatible", made)
    settings = ModelSettings(
        url="http://upstream.test/v1?api-version=1", preset=name, key="sk-secret"
    )
    request = ModelRequest(
        entries=REQUEST.entries, tools=(TOOL,), parallel_calls=False, max_tokens=9,
        sampling=Sampling(seed=7), thinking=True,
    )  # fmt: skip
    await ask(Directory({ANY: settings}).find("one").model, request)
    body = json.loads(seen[0].content)
    present, absent = SENT[name]
    assert present <= set(body)
    assert not absent & set(body)
    assert str(seen[0].url) == "http://upstream.test/v1/chat/completions?api-version=1"
    key = "sk-secret" if name == "azure" else "Bearer sk-secret"
    assert seen[0].headers["api-key" if name == "azure" else "authorization"] == key


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("https://api.openai.com/v1", "openai"),
        ("https://mine.openai.azure.com/openai/deployments/a?api-version=1", "azure"),
        ("https://dashscope-intl.aliyuncs.com/compatible-mode/v1", "dashscope"),
        ("https://api.mistral.ai/v1", "mistral"),
        ("https://api.openai.com.example.org/v1", "none"),
        ("https://notopenrouter.ai/v1", "none"),
        ("http://127.0.0.1:8000/v1", "none"),
    ],
)
def test_a_preset_is_found_by_the_host(url, name):
    assert preset_for(url).name == name


def test_presets_and_the_names_of_the_config_are_the_same():
    names = {preset.name for preset in PRESETS} | {"", "none"}
    assert names == set(ModelSettings.model_fields["preset"].annotation.__args__)
