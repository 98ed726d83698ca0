"""Upstreams: the OpenAI-compatible channel, the fenced protocol, record and replay."""

import asyncio
import json
import sys
from contextlib import aclosing
from dataclasses import replace

import httpx2
import pytest
from scripted import CALLED, STOPPED, ScriptedModel, call, say, spent, think

from runner.errors import ConfigError, RecordingError, ReplayMismatch, UpstreamError
from runner.events import ReasoningDelta, TextDelta
from runner.models.fenced import CODE_WORDS, Fenced
from runner.models.openai_compatible import Endpoint, OpenAICompatible
from runner.models.port import CallDelta, ModelRequest, Sampling, ToolSpec, TurnEnded, UsageSeen
from runner.models.replay import Recorder, Replay, exchange_line
from runner.tools.code_interpreter import SPEC
from runner.transcript import Instruction, Question, ToolCall, ToolResult, Turn, Usage

DEEP_ERROR = "failed" if sys.version_info >= (3, 13) else "garbled"
"""Whether what is nested so deeply is still walked to its end depends on the interpreter."""
QUESTION = Question(text="What is 123 to the 21st power?")
REQUEST = ModelRequest(entries=(QUESTION,), tools=(SPEC,))


async def everything(model, request=REQUEST):
    async with aclosing(model.stream(request)) as events:
        return [event async for event in events]


# ---- OpenAI-compatible --------------------------------------------------------------------------


def chunk(delta=None, finish=None, usage=None):
    choices = [] if delta is None else [{"index": 0, "delta": delta, "finish_reason": finish}]
    return {
        "id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m",
        "choices": choices, "usage": usage,
    }  # fmt: skip


def sse(*chunks, end="data: [DONE]\n\n"):
    return "".join(f"data: {json.dumps(one)}\n\n" for one in chunks) + end


def upstream(*replies, retries=0, opens_thinking=None, **settings):
    """A model over an endpoint that gives `replies` in turn; the requests that it saw."""
    seen, left = [], list(replies)

    def answer(request):
        seen.append(json.loads(request.content))
        reply = left.pop(0) if len(left) > 1 else left[0]
        if isinstance(reply, Exception):
            raise reply
        if isinstance(reply, str):
            return httpx2.Response(200, text=reply, headers={"content-type": "text/event-stream"})
        return reply

    endpoint = Endpoint(url="http://upstream.test/v1", model="m", retries=retries,
                        opens_thinking=opens_thinking, **settings)  # fmt: skip
    return OpenAICompatible(endpoint, transport=httpx2.MockTransport(answer)), seen


async def test_a_turn_with_thinking_text_and_a_call_is_read():
    model, seen = upstream(
        sse(
            chunk({"role": "assistant", "content": None, "reasoning_content": "hm"}),
            chunk({"reasoning": " well"}),
            chunk({"content": "So: "}),
            chunk({"tool_calls": [{"index": 0, "id": "c1", "type": "function", "function": {
                "name": "code_interpreter", "arguments": '{"co'}}]}),
            chunk({"tool_calls": [{"index": 0, "function": {"arguments": 'de":"1"}'}}]}),
            chunk({}, "tool_calls"),
            chunk(usage={"prompt_tokens": 9, "completion_tokens": 5, "total_tokens": 14,
                         "completion_tokens_details": {"reasoning_tokens": 2},
                         "prompt_tokens_details": {"cached_tokens": 3}}),
        )
    )  # fmt: skip
    assert await everything(model) == [
        ReasoningDelta("hm"),
        ReasoningDelta(" well"),
        TextDelta("So: "),
        CallDelta(0, '{"co', id="c1", name="code_interpreter"),
        CallDelta(0, 'de":"1"}'),
        UsageSeen(Usage(input_tokens=9, output_tokens=5, reasoning_tokens=2, cached_tokens=3)),
        TurnEnded("calls"),
    ]
    assert seen[0]["stream_options"] == {"include_usage": True}
    assert seen[0]["tools"][0]["function"]["name"] == "code_interpreter"


async def test_the_whole_conversation_is_sent_and_broken_arguments_are_not():
    model, seen = upstream(sse(chunk({"content": "ok"}, "stop")))
    turn = Turn(
        text="Let me see.",
        calls=(ToolCall(id="a", name="code_interpreter", arguments="{broken"),),
        results=(ToolResult(call_id="a", tool="code_interpreter", shown="It was no JSON."),),
    )
    entries = (Instruction(text="Be kind."), QUESTION, turn, Question(text="And?", images=("u",)))
    request = ModelRequest(
        entries=entries, tools=(SPEC,), tool_choice="code_interpreter", max_tokens=9,
        sampling=Sampling(temperature=0.5, top_k=4, stop=("END",)), thinking=True,
    )  # fmt: skip
    await everything(upstream_model := model, request)
    await upstream_model.close()
    body = seen[0]
    assert body["messages"] == [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": QUESTION.text},
        {"role": "assistant", "content": "Let me see.", "tool_calls": [
            {"id": "a", "type": "function",
             "function": {"name": "code_interpreter", "arguments": "{}"}}]},
        {"role": "tool", "tool_call_id": "a", "content": "It was no JSON."},
        {"role": "user", "content": [{"type": "text", "text": "And?"},
                                     {"type": "image_url", "image_url": {"url": "u"}}]},
    ]  # fmt: skip
    assert body["tool_choice"] == {"type": "function", "function": {"name": "code_interpreter"}}
    assert (body["temperature"], body["top_k"], body["stop"], body["max_tokens"]) == (
        0.5, 4, ["END"], 9,
    )  # fmt: skip
    assert "enable_thinking" not in body


@pytest.mark.parametrize(
    ("field", "wanted"),
    [
        ("enable_thinking", {"enable_thinking": True, "thinking_budget": 50}),
        ("chat_template_kwargs", {"chat_template_kwargs": {"enable_thinking": True}}),
        ("reasoning_effort", {"reasoning_effort": "medium"}),
    ],
)
async def test_thinking_is_asked_for_as_the_endpoint_wants_it(field, wanted):
    model, seen = upstream(sse(chunk({"content": "ok"}, "stop")), thinking_field=field)
    await everything(model, ModelRequest(entries=(QUESTION,), thinking=True, thinking_budget=50))
    assert wanted.items() <= seen[0].items()


@pytest.mark.parametrize(
    ("reply", "fault"),
    [
        (httpx2.ConnectError("refused"), "down"),
        (httpx2.ReadTimeout("slow"), "slow"),
        (httpx2.Response(500, json={"error": {"message": "boom"}}), "failed"),
        (httpx2.Response(503, text="gone"), "down"),
        (httpx2.Response(429, json={"error": {"message": "later"}}), "busy"),
        (httpx2.Response(401, json={"error": {"message": "bad key sk-1"}}), "refused"),
        (httpx2.Response(400, json={"error": {"message": "context too long"}}), "rejected"),
        ("data: {nonsense\n\n", "garbled"),
        ('data: {"error": {"message": "mid-stream"}}\n\n', "failed"),
        ("<html>hello</html>", "garbled"),
        (sse(end=""), "garbled"),
        (sse(chunk({"content": "half"}), end=""), "cut"),
        ('data: {"choices": 7}\n\n', "garbled"),
        ("data: [1, 2]\n\n", "garbled"),
        ('data: {"error": ' + "[" * 700 + "]" * 700 + "}\n\n", DEEP_ERROR),
        ('data: {"choices": ' + "[" * 9000 + "]" * 9000 + "}\n\n", "garbled"),
        ("data: " + "x" * 17_000_000, "garbled"),
    ],
)
async def test_each_way_to_fail_has_its_name(reply, fault):
    model, _ = upstream(reply)
    with pytest.raises(UpstreamError) as caught:
        await everything(model)
    assert caught.value.fault == fault
    assert "sk-1" not in caught.value.public


async def test_a_failure_before_the_first_piece_is_tried_again_and_one_after_it_is_not():
    down = httpx2.Response(503, text="gone", headers={"retry-after-ms": "1"})
    model, seen = upstream(down, sse(chunk({"content": "ok"}, "stop")), retries=1)
    assert await everything(model) == [TextDelta("ok"), TurnEnded("stop")]
    assert len(seen) == 2
    model, seen = upstream(sse(chunk({"content": "half"}), end=""), retries=3)
    with pytest.raises(UpstreamError):
        await everything(model)
    assert len(seen) == 1


async def test_a_call_that_came_as_text_is_a_call():
    text = '{"name": "code_interpreter", "arguments": {"code": "1+1"}}'
    model, _ = upstream(sse(chunk({"content": text[:20]}), chunk({"content": text[20:]}, "stop")))
    events = await everything(model)
    assert events[-2:] == [
        CallDelta(0, '{"code":"1+1"}', id="call_text_1", name="code_interpreter"),
        TurnEnded("calls"),
    ]


class Slow(httpx2.AsyncByteStream):
    """A body whose pieces come when they are let go."""

    def __init__(self, *pieces):
        self.pieces, self.let_go = pieces, [asyncio.Event() for _ in pieces]

    async def __aiter__(self):
        for piece, event in zip(self.pieces, self.let_go, strict=True):
            await event.wait()
            yield piece.encode()


def slow(*pieces):
    body = Slow(*pieces)
    transport = httpx2.MockTransport(lambda _request: httpx2.Response(200, stream=body))
    return OpenAICompatible(Endpoint(url="http://upstream.test/v1"), transport=transport), body


async def test_the_first_text_of_a_model_waits_a_while_for_a_closing_tag(monkeypatch):
    monkeypatch.setattr("runner.models.openai_compatible.HOLD_S", 0.05)
    first = sse(chunk({"content": "It is "}), end="")
    model, body = slow(first, sse(chunk({"content": "42."}), chunk({}, "stop")))
    body.let_go[0].set()
    async with aclosing(model.stream(REQUEST)) as events:
        assert await asyncio.wait_for(anext(events), 5) == TextDelta("It is ")
        body.let_go[1].set()
        assert [event async for event in events] == [TextDelta("42."), TurnEnded("stop")]


async def test_a_client_that_waits_for_the_whole_answer_gets_thinking_apart(monkeypatch):
    monkeypatch.setattr("runner.models.openai_compatible.HOLD_S", 0.0)
    model, body = slow(sse(chunk({"content": "Hm."}), end=""), sse(
        chunk({"content": "\n</think>\n\n42"}), chunk({}, "stop")))  # fmt: skip
    for event in body.let_go:
        event.set()
    unwatched = replace(REQUEST, is_watched=False)
    assert await everything(model, unwatched) == [
        ReasoningDelta("Hm.\n"), TextDelta("42"), TurnEnded("stop"),
    ]  # fmt: skip


async def test_what_is_known_of_a_model_lets_later_answers_flow():
    plain = sse(chunk({"content": "a"}), chunk({"content": "b"}, "stop"))
    opened = sse(chunk({"content": "hm"}), chunk({"content": "</think>\n42"}, "stop"))
    model, _ = upstream(plain, opened, opened, plain)
    assert await everything(model) == [TextDelta("ab"), TurnEnded("stop")]
    # Not expected, so it is shown, without the tag; from then on it is known.
    assert await everything(model) == [TextDelta("hm"), TextDelta("42"), TurnEnded("stop")]
    assert await everything(model) == [ReasoningDelta("hm"), TextDelta("42"), TurnEnded("stop")]
    # It did not think this time: the answer is whole all the same.
    assert (await everything(model))[-2:] == [TextDelta("ab"), TurnEnded("stop")]


async def test_an_endpoint_that_calls_by_itself_is_not_read_for_calls_in_text():
    text = '<tool_call>{"name": "code_interpreter", "arguments": {"code": "1"}}</tool_call>'
    turn = Turn(
        calls=(ToolCall(id="call_9", name="code_interpreter", arguments='{"code":"1"}'),),
        results=(ToolResult(call_id="call_9", tool="code_interpreter", shown="1"),),
    )
    model, _ = upstream(sse(chunk({"content": text}, "stop")))
    events = await everything(model, replace(REQUEST, entries=(QUESTION, turn)))
    assert events[-1] == TurnEnded("stop")
    assert "".join(event.text for event in events[:-1]) == text
    written = Turn(
        calls=(ToolCall(id="call_text_1", name="code_interpreter", arguments="{}"),),
        results=(ToolResult(call_id="call_text_1", tool="code_interpreter", shown="1"),),
    )
    events = await everything(model, replace(REQUEST, entries=(QUESTION, written)))
    assert events[-1] == TurnEnded("calls")


# ---- fenced -------------------------------------------------------------------------------------


async def test_a_fenced_model_sees_words_in_place_of_tools():
    inner = ScriptedModel([*say("I'll run it.\n```python\n123", "**21\n```\nOutput:"), STOPPED])
    earlier = Turn(
        calls=(ToolCall(id="a", name="code_interpreter", arguments='{"code":"1"}'),),
        results=(ToolResult(call_id="a", tool="code_interpreter", shown="1"),),
    )
    search = ToolSpec(name="web_search", description="Searches.", parameters={})
    request = ModelRequest(entries=(QUESTION, earlier), tools=(SPEC, search))
    events = await everything(Fenced(inner), request)
    assert events == [
        TextDelta("I'll run it."),
        CallDelta(0, '{"code":"123**21"}', id="call_text_1", name="code_interpreter"),
        TurnEnded("calls"),
    ]
    seen = inner.requests[0]
    assert seen.tools == ()
    assert seen.entries[0].text.startswith(CODE_WORDS)
    assert '"web_search"' in seen.entries[0].text
    assert [entry.text for entry in seen.entries[1:]] == [
        QUESTION.text, "```python\n1\n```", "Output of code_interpreter:\n1",
    ]  # fmt: skip
    assert inner.open == 0


# ---- record and replay --------------------------------------------------------------------------

TURN = [*think("hm"), *call("1+1"), spent(3, 2, 1), CALLED]


async def test_what_was_recorded_is_replayed(tmp_path):
    path = tmp_path / "exchanges.jsonl"
    recorder = Recorder(ScriptedModel(TURN), path)
    live = await everything(recorder)
    assert await everything(Replay.load(path)) == live == TURN


async def test_a_request_that_was_not_recorded_fails_with_a_diff(tmp_path):
    path = tmp_path / "exchanges.jsonl"
    other = ModelRequest(entries=(Question(text="Something else entirely?"),), tools=(SPEC,))
    path.write_text(f"{exchange_line(other, TURN)}\n{exchange_line(REQUEST, TURN)}\n")
    asked = ModelRequest(entries=(Question(text="What is 123 to the 22nd power?"),), tools=(SPEC,))
    with pytest.raises(ReplayMismatch) as caught:
        await everything(Replay.load(path), asked)
    lines = caught.value.diff.splitlines()
    assert any(line.startswith("-") and "21st" in line for line in lines)
    assert any(line.startswith("+") and "22nd" in line for line in lines)


async def test_equal_requests_get_their_answers_in_turn(tmp_path):
    path = tmp_path / "exchanges.jsonl"
    first, second = [*say("a"), STOPPED], [*say("b"), STOPPED]
    path.write_text(f"{exchange_line(REQUEST, first)}\n{exchange_line(REQUEST, second)}\n")
    replay = Replay.load(path)
    assert [(await everything(replay))[0].text for _ in range(3)] == ["a", "b", "a"]


@pytest.mark.parametrize(
    "line", ["nonsense", '{"request": {}}', '{"request":{},"events":[["x",{}]]}']
)
def test_a_broken_recording_is_named_with_its_line(tmp_path, line):
    path = tmp_path / "exchanges.jsonl"
    path.write_text(f"{line}\n")
    with pytest.raises(RecordingError) as caught:
        Replay.load(path)
    assert (caught.value.recording, caught.value.line) == ("exchanges.jsonl", 1)


# ---- what its owner is told ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (401, "CELLBLOCK_MODEL_KEY"),
        (404, "most end with /v1"),
        (429, "Ask again later"),
        (500, "Its own log says why"),
        (None, "Is it running"),
    ],
)
async def test_the_owner_is_told_where_and_what_to_try_and_a_client_is_not(status, words):
    def answer(request):
        if status is None:
            raise httpx2.ConnectError("refused", request=request)
        return httpx2.Response(status, text="no")

    endpoint = Endpoint(
        url="http://me:secret@upstream.test:8000/v1?token=secret", model="mine", retries=0
    )
    model = OpenAICompatible(endpoint, transport=httpx2.MockTransport(answer))
    with pytest.raises(UpstreamError) as caught:
        await everything(model)
    told = str(caught.value)
    assert "at http://upstream.test:8000/v1 for the model 'mine'" in told
    assert words in told
    assert "secret" not in told
    assert "upstream.test" not in caught.value.public


@pytest.mark.parametrize("url", ["localhost:11434/v1", "ftp://x/v1", "http:///v1", "127.0.0.1"])
def test_an_address_that_is_none_is_refused_with_what_it_must_begin_with(url):
    with pytest.raises(ConfigError, match="must begin with http"):
        OpenAICompatible(Endpoint(url=url))


@pytest.mark.parametrize("thought", [{"reasoning_content": "hm"}, {"content": "<think>hm</think>"}])
async def test_a_turn_of_nothing_but_thinking_is_told_to_the_log(caplog, thought):
    model, _ = upstream(sse(chunk(thought), chunk({}, "stop")))
    events = await everything(model)
    assert "".join(one.text for one in events if isinstance(one, ReasoningDelta)) == "hm"
    assert events[-1] == TurnEnded("stop")
    assert [record.getMessage() for record in caplog.records] == [
        "the model at http://upstream.test/v1 thought and answered nothing"
    ]
