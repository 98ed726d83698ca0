"""DashScope's own client: the 1.x calls, sync and async, and the 2.0 `Client`."""

import dashscope
import pytest
from dashscope import AioGeneration, Generation
from serving import KEY, MODEL
from talking import ONE_CALL, PLOT, POWER, REPAIR, SIDE_BY_SIDE, SLOW, TWO, TWO_CALLS

CODE = {"enable_code_interpreter": True, "enable_thinking": True, "result_format": "message"}


@pytest.fixture(autouse=True)
def address(server, monkeypatch):
    monkeypatch.setattr(dashscope, "base_http_api_url", f"{server.origin}/api/v1")


def ask(question, **more):
    messages = [{"role": "user", "content": question}]
    return Generation.call(
        api_key=KEY, model=MODEL, messages=messages, **{**CODE, "stream": True, **more}
    )


def test_the_sample_prints_thinking_code_answer_and_bill(nothing_is_left):
    thinking, answer, lists, last = "", "", [], None
    for chunk in ask(TWO_CALLS, incremental_output=True):
        assert chunk.status_code == 200
        message = chunk.output.choices[0].message
        thinking += message.reasoning_content
        answer += message.content
        info = chunk.output.get("tool_info")
        if info and (not lists or info != lists[-1]):
            lists.append(info)
        last = chunk
    codes = [[one["code_interpreter"]["code"] for one in info] for info in lists]
    assert codes == [["123**23"], ["123**23", f"{TWO} / 5"]]
    assert answer == f"Run 1: {TWO}. Run 2: 2.338016430028866e+47."
    assert "Now divide" in thinking
    assert last.output.choices[0].finish_reason == "stop"
    assert (last.usage.input_tokens, last.usage.output_tokens, last.usage.total_tokens) == (
        1404, 249, 1653,
    )  # fmt: skip
    assert last.usage.plugins == {"code_interpreter": {"count": 2}}


def test_the_client_merges_when_it_is_asked_to_repeat(nothing_is_left):
    chunks = list(ask(ONE_CALL, incremental_output=False))
    assert chunks[-1].output.choices[0].message.content == f"123 to the 21st power is {POWER}."


def test_two_calls_of_one_turn_are_both_listed(nothing_is_left):
    chunks = list(ask(SIDE_BY_SIDE, incremental_output=True))
    codes = [one["code_interpreter"]["code"] for one in chunks[-1].output.get("tool_info")]
    assert codes == ["y = 6", "y * 7"]
    assert chunks[-1].usage.plugins == {"code_interpreter": {"count": 2}}
    assert "".join(one.output.choices[0].message.content for one in chunks) == "It is 42."


def test_a_plot_is_drawn_out_of_sight(nothing_is_left):
    chunks = list(ask(PLOT, incremental_output=True))
    answer = "".join(one.output.choices[0].message.content for one in chunks)
    assert answer == "Here it is: [plot.png](sandbox:/mnt/data/plot.png)."


def test_a_client_that_leaves_mid_stream_leaves_nothing_running(server, nothing_is_left):
    chunks = ask(SLOW, incremental_output=True)
    for chunk in chunks:
        if chunk.output.get("tool_info"):
            break
    assert server.services.streams.open
    chunks.close()


async def test_the_async_call_streams_too(nothing_is_left):
    stream = await AioGeneration.call(
        api_key=KEY, model=MODEL, messages=[{"role": "user", "content": REPAIR}],
        stream=True, incremental_output=True, **CODE,
    )  # fmt: skip
    answer, count = "", 0
    async for chunk in stream:
        answer += chunk.output.choices[0].message.content
        count = len(chunk.output.get("tool_info") or ())
    assert (answer, count) == ("x + 1 is 42 once x is 41.", 2)


@pytest.mark.parametrize(
    ("changes", "status", "code", "message"),
    [
        ({"stream": False}, 400, "InvalidParameter",
         "parameter.enable_thinking must be set to false for non-streaming calls"),
        ({"enable_thinking": False}, 400, "InvalidParameter",
         "The code interpreter is only supported in thinking mode."),
        ({"tools": [{"type": "function", "function": {"name": "f", "parameters": {}}}]}, 400,
         "InvalidParameter", "The code interpreter and function tools cannot be used together."),
        ({"model": "nobody"}, 404, "ModelNotFound", "The model `nobody` does not exist."),
        ({"api_key": "sk-wrong"}, 401, "InvalidApiKey", "Invalid API-key provided."),
    ],
)  # fmt: skip
def test_a_wrong_request_is_told_as_the_client_tells_it(changes, status, code, message):
    arguments = {
        "api_key": KEY, "model": MODEL, "messages": [{"role": "user", "content": ONE_CALL}],
        "stream": True, **CODE, **changes,
    }  # fmt: skip
    reply = Generation.call(**arguments)
    response = reply if not arguments["stream"] else next(iter(reply))
    assert (response.status_code, response.code, response.message) == (status, code, message)
    assert response.request_id


@pytest.mark.parametrize(
    ("protocol", "base"), [("native", "/api/v1"), ("openai", "/compatible-mode/v1")]
)
def test_the_client_of_version_2_streams_in_both_protocols(server, nothing_is_left, protocol, base):
    with dashscope.Client(
        api_key=KEY, base_url=f"{server.origin}{base}", protocol=protocol
    ) as client:
        chunks = list(
            client.chat.completions.create(
                model=MODEL, messages=[{"role": "user", "content": ONE_CALL}], stream=True,
                enable_thinking=True, parameters={"enable_code_interpreter": True},
            )
        )  # fmt: skip
    texts = [chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices]
    assert "".join(texts) == f"123 to the 21st power is {POWER}."
