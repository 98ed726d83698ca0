"""Responses: events, items and files, and what a request may not say."""

import asyncio

import pytest
from dialect_runs import loop_of, refusal, run
from scripted import CALLED, STOPPED, ScriptedModel, call, say, spent, think
from talks import POWER, one_call, repaired

from runner.dialects import responses
from runner.dialects.faults import fault_of
from runner.dialects.fields import check_depth
from runner.dialects.responses_events import ResponsesWriter, frame
from runner.errors import RequestError, UpstreamError
from runner.events import ArgumentsDelta, CallBegan, Ended
from runner.loop import Budget
from runner.transcript import (
    CodeRun,
    MadeFile,
    ToolCall,
    ToolResult,
    Turn,
    Usage,
)

CODE_TOOL = {"type": "code_interpreter"}
RESPONSES = {"model": "qwen3-max", "input": "What is 123 to the 21st power?", "tools": [CODE_TOOL]}


def parse_it(**changes):
    return responses.parse({**RESPONSES, **changes}, lookup=lambda _id: None)


def writer_of(parsed, options, **changes):
    counts = {}

    def new_id(prefix):
        counts[prefix] = counts.get(prefix, 0) + 1
        return f"{prefix}_{counts[prefix]}"

    return ResponsesWriter(
        response_id="resp_4fa0", created_at=1764000000, model=parsed.model, echo=options.echo,
        new_id=new_id, container_id=lambda: "cntr_7c1e", **changes,
    )  # fmt: skip


def events_of(talk, writer=None, budget=None, **changes):
    parsed, options = parse_it(**changes)
    writer = writer or writer_of(parsed, options)

    def feed(event):
        if isinstance(event, Ended):
            return writer.end(event, completed_at=1764000021)
        return writer.feed(event)

    return [*writer.begin(), *run(loop_of(talk, budget=budget), feed)]


def test_a_responses_stream_has_every_event_in_its_place():
    events = events_of(one_call())
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    names = [event["type"].removeprefix("response.") for event in events]
    reasoning = [
        "output_item.added", "reasoning_summary_part.added",
        "reasoning_summary_text.delta", "reasoning_summary_text.delta",
        "reasoning_summary_text.done", "reasoning_summary_part.done", "output_item.done",
    ]  # fmt: skip
    code = [
        "output_item.added", "code_interpreter_call.in_progress",
        "code_interpreter_call_code.delta", "code_interpreter_call_code.done",
        "code_interpreter_call.interpreting", "code_interpreter_call.completed",
        "output_item.done",
    ]  # fmt: skip
    message = [
        "output_item.added", "content_part.added", "output_text.delta", "output_text.delta",
        "output_text.done", "content_part.done", "output_item.done",
    ]  # fmt: skip
    wanted = ["created", "in_progress", *reasoning, *code, *reasoning, *message, "completed"]
    written = [name for name in names if name != "code_interpreter_call_code.delta"]
    assert written == [name for name in wanted if name != "code_interpreter_call_code.delta"]
    deltas = [event["delta"] for event in events if "call_code.delta" in event["type"]]
    assert "".join(deltas) == "123**21"
    places = [event["output_index"] for event in events if "output_item" in event["type"]]
    assert places == [0, 0, 1, 1, 2, 2, 3, 3]


def test_the_items_of_a_response_are_those_that_clients_read():
    response = events_of(one_call())[-1]["response"]
    thought = ["I need an exact value, so I will run Python.", "The tool returned the number."]
    text = f"123 to the 21st power is {POWER}."
    assert response["output"] == [
        {"id": "rs_1", "type": "reasoning", "status": "completed",
         "summary": [{"type": "summary_text", "text": thought[0]}]},
        {"id": "ci_1", "type": "code_interpreter_call", "status": "completed", "code": "123**21",
         "container_id": "cntr_7c1e", "outputs": [{"type": "logs", "logs": POWER}]},
        {"id": "rs_2", "type": "reasoning", "status": "completed",
         "summary": [{"type": "summary_text", "text": thought[1]}]},
        {"id": "msg_1", "type": "message", "role": "assistant", "status": "completed",
         "content": [{"type": "output_text", "text": text, "annotations": [], "logprobs": []}]},
    ]  # fmt: skip
    assert response["usage"] == {
        "input_tokens": 793, "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        "output_tokens": 134, "output_tokens_details": {"reasoning_tokens": 60},
        "total_tokens": 927, "x_tools": {"code_interpreter": {"count": 1}},
    }  # fmt: skip
    assert (response["status"], response["id"]) == ("completed", "resp_4fa0")
    assert response["tools"] == [CODE_TOOL]


def test_an_item_is_added_empty_and_done_whole():
    events = events_of(one_call())
    added = [e["item"] for e in events if e["type"] == "response.output_item.added"]
    assert added[1] == {
        "id": "ci_1", "type": "code_interpreter_call", "status": "in_progress", "code": "",
        "container_id": "cntr_7c1e", "outputs": [],
    }  # fmt: skip
    assert added[3]["content"] == added[0]["summary"] == []


def test_a_failing_snippet_is_a_completed_call():
    response = events_of(repaired())[-1]["response"]
    calls = [item for item in response["output"] if item["type"] == "code_interpreter_call"]
    assert [(one["status"], one["outputs"][0]["logs"]) for one in calls] == [
        ("completed", "NameError: x\n"), ("completed", "42\n"),
    ]  # fmt: skip
    assert response["usage"]["x_tools"] == {"code_interpreter": {"count": 2}}
    assert (response["usage"]["input_tokens"], response["usage"]["output_tokens"]) == (1433, 175)


def test_x_tools_are_there_when_nothing_was_run():
    model = ScriptedModel([*say("Hi."), STOPPED])
    response = events_of((model, one_call()[1]))[-1]["response"]
    assert response["usage"]["x_tools"] == {"code_interpreter": {"count": 0}}


def test_a_spent_budget_of_rounds_is_an_incomplete_response():
    model = ScriptedModel([*think("hm"), *say("half"), spent(1, 9, 1), call("x")[0], CALLED])
    events = events_of((model, one_call()[1]), budget=Budget(rounds=1))
    assert events[-1]["type"] == "response.incomplete"
    response = events[-1]["response"]
    assert response["status"] == "incomplete"
    assert response["incomplete_details"] == {"reason": "max_messages"}
    assert response["output"][-1]["status"] == "incomplete"


def test_a_failed_response_closes_what_was_open():
    parsed, options = parse_it()
    writer = writer_of(parsed, options)
    loop = loop_of((ScriptedModel([*think("hm"), UpstreamError("cut")]), one_call()[1]))
    events = list(writer.begin())

    async def drive():
        async for event in loop.run():
            events.extend(writer.feed(event))

    with pytest.raises(UpstreamError) as caught:
        asyncio.run(drive())
    events.extend(writer.fail(fault_of(caught.value), loop.usage, loop.counts))
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    last = events[-1]
    assert last["type"] == "response.failed"
    assert last["response"]["error"] == {
        "code": "server_error", "message": "The model's endpoint ended its answer in the middle.",
    }  # fmt: skip
    assert last["response"]["output"][0]["status"] == "incomplete"


def result_with(**changes):
    details = CodeRun(code="plot()", container_id="cntr_7c1e", **changes)
    return ToolResult(call_id="call_a", tool="code_interpreter", shown="", details=details)


class Plotting:
    """A tool whose snippet draws and saves."""

    aliases: frozenset[str] = frozenset()

    def __init__(self, spec, **changes):
        self.spec, self._changes = spec, changes
        self.aliases = frozenset()

    async def run(self, _call):
        return result_with(**self._changes)

    async def close(self):
        pass


def test_images_follow_the_logs_and_files_are_cited_where_the_text_links_to_them():
    made = (
        MadeFile(path="plot.png", file_id="cfile_3b"),
        MadeFile(path="b.csv", file_id="cfile_4"),
    )
    tool = Plotting(one_call()[1].spec, images=("data:image/png;base64,AA==",), files=made)
    text = "See [plot.png](sandbox:/mnt/data/plot.png)."
    model = ScriptedModel([*call("plot()"), CALLED], [*say(text), STOPPED])
    events = events_of((model, tool))
    output = events[-1]["response"]["output"]
    assert output[0]["outputs"] == [
        {"type": "logs", "logs": ""}, {"type": "image", "url": "data:image/png;base64,AA=="},
    ]  # fmt: skip
    cited = output[1]["content"][0]["annotations"]
    start = text.index("sandbox:")
    assert cited == [
        {"type": "container_file_citation", "container_id": "cntr_7c1e", "file_id": "cfile_3b",
         "filename": "plot.png", "start_index": start, "end_index": len(text) - 2},
        {"type": "container_file_citation", "container_id": "cntr_7c1e", "file_id": "cfile_4",
         "filename": "b.csv", "start_index": 0, "end_index": 0},
    ]  # fmt: skip
    names = [event["type"] for event in events]
    assert names.index("response.output_text.annotation.added") < names.index(
        "response.output_text.done"
    )


@pytest.mark.parametrize("status", ["limit_exceeded", "died", "failed"])
def test_a_call_that_the_sandbox_ended_is_failed_and_says_why(status):
    tool = Plotting(one_call()[1].spec, status=status, notice="Stopped: too long.")
    model = ScriptedModel([*call("plot()"), CALLED], [*say("No."), STOPPED])
    item = events_of((model, tool))[-1]["response"]["output"][0]
    assert item["status"] == "failed"
    assert item["outputs"] == [{"type": "logs", "logs": "Stopped: too long."}]


def test_strict_outputs_are_null():
    parsed, options = parse_it()
    writer = writer_of(parsed, options, shows_outputs=False)
    item = events_of(one_call(), writer=writer)[-1]["response"]["output"][1]
    assert item["outputs"] is None


def test_frames_have_an_event_line_and_no_id():
    assert frame({"type": "error", "text": "é"}) == (
        'event: error\ndata: {"type":"error","text":"é"}\n\n'.encode()
    )


@pytest.mark.parametrize(
    ("changes", "param", "message"),
    [
        ({"tools": [CODE_TOOL, {"type": "function", "name": "f", "parameters": {}}]}, "tools",
         "The code interpreter and function tools cannot be used together."),
        ({"enable_thinking": False}, "enable_thinking",
         "The code interpreter is only supported in thinking mode."),
        ({"reasoning": {"effort": "none"}}, "reasoning.effort",
         "The code interpreter is only supported in thinking mode."),
        ({"tools": [{"type": "browser"}]}, "tools[0].type",
         "tools[0].type is 'browser'; known types: code_interpreter, web_search,"
         " web_search_preview, web_extractor, mcp, function."),
        ({"tools": [{"type": "code_interpreter", "container": {"type": "auto",
                                                               "memory_limit": "3g"}}]},
         "tools[0].container.memory_limit",
         "tools[0].container.memory_limit must be one of 1g, 4g, 16g, 64g."),
        ({"previous_response_id": "a", "conversation": "b"}, "conversation",
         "previous_response_id and conversation cannot be used together."),
        ({"background": True, "store": False}, "background",
         "background requires store to be true."),
        ({"input": None}, "input", "input must be a string or a non-empty array."),
        ({"input": [{"type": "music"}]}, "input[0].type",
         "input[0].type is 'music', which this server does not know."),
        ({"metadata": {"a": 1}}, "metadata.a",
         "metadata.a must be a string of at most 512 characters."),
    ],
)  # fmt: skip
def test_a_wrong_responses_request_is_named_by_its_field(changes, param, message):
    error = refusal(responses.parse, {**RESPONSES, **changes}, lookup=lambda _id: None)
    assert (error.param, error.message, fault_of(error).status) == (param, message, 400)


def test_the_interpreter_turns_thinking_on_when_nothing_is_said():
    assert parse_it()[0].thinking is True
    assert parse_it(reasoning={"effort": "high"}, enable_thinking=False)[0].thinking is True
    assert parse_it(tools=[])[0].thinking is None


def test_earlier_output_is_taken_back_as_the_clients_send_it():
    output = events_of(one_call())[-1]["response"]["output"]
    extracted = {"type": "web_extractor_call", "id": "we_1", "urls": ["u"], "goal": "g",
                 "output": "o", "status": "completed"}  # fmt: skip
    parsed, options = parse_it(
        input=[{"role": "user", "content": "Power?"}, *output, extracted,
               {"type": "code_interpreter_call", "id": "ci_9", "code": "1", "outputs": None,
                "container_id": "cntr_8", "status": "completed"},
               {"role": "user", "content": [{"type": "input_text", "text": "And?"}]}]
    )  # fmt: skip
    kinds = [type(entry).__name__ for entry in parsed.entries]
    assert kinds == ["Question", "Turn", "Turn", "Turn", "Turn", "Question"]
    first = parsed.entries[1]
    assert first.reasoning == "I need an exact value, so I will run Python."
    assert first.calls[0].arguments == '{"code":"123**21"}'
    assert first.results[0].shown == POWER
    assert parsed.entries[2].text == f"123 to the 21st power is {POWER}."
    assert parsed.entries[3].results[0].shown == "o"
    assert parsed.entries[4].results[0].shown == "[the code ran and printed nothing]"
    assert options.replayed_container == "cntr_8"


def test_a_reference_is_looked_up():
    stored = {"type": "message", "role": "assistant", "content": "Earlier."}
    body = {**RESPONSES, "input": [{"type": "item_reference", "id": "msg_1"}]}
    parsed, _ = responses.parse(body, lookup={"msg_1": stored}.get)
    assert parsed.entries == (Turn(text="Earlier."),)
    error = refusal(responses.parse, body, lookup=lambda _id: None)
    assert (error.fault, error.message) == ("not_found", "Item with id 'msg_1' not found.")


def test_a_body_that_nests_too_deeply_is_refused():
    value = 1
    for _ in range(100):
        value = [value]
    with pytest.raises(RequestError):
        check_depth(value)
    check_depth({"a": [{"b": [1] * 1000}]})


def test_a_reference_to_what_is_said_already_adds_nothing():
    message = {"type": "message", "role": "assistant", "id": "msg_1", "content": "Hello."}
    refer = {"type": "item_reference", "id": "msg_1"}
    question = {"role": "user", "content": "And now?"}

    def parsed(items, **more):
        body = {**RESPONSES, "input": items}
        return responses.parse(body, lookup={"msg_1": message}.get, **more)

    for items in ([refer, refer, question], [message, refer, question]):
        found, options = parsed(items)
        assert [entry.text for entry in found.entries] == ["Hello.", "And now?"]
        assert [item.get("id") for item in options.input_items] == ["msg_1", None]
    found, options = parsed([refer, question], present=frozenset({"msg_1"}))
    assert [entry.text for entry in found.entries] == ["And now?"]
    assert len(options.input_items) == 1


@pytest.mark.parametrize("ending", ["length", "tokens", "filter", "client_calls"])
def test_a_function_call_that_was_cut_is_not_called_complete(ending):
    cut = ToolCall(id="call_1", name="look", arguments='{"at": ')
    writer = ResponsesWriter(
        response_id="resp_1", created_at=1, model="m", echo={}, new_id=lambda kind: f"{kind}_1",
        container_id=lambda: "", client_tools=frozenset({"look"}),
    )  # fmt: skip
    ended = Ended(ending, Usage(), {}, (Turn(calls=(cut,)),))
    events = [*writer.begin(), *writer.feed(CallBegan("call_1", "look")),
              *writer.feed(ArgumentsDelta("call_1", cut.arguments)),
              *writer.end(ended, completed_at=2)]  # fmt: skip
    (item,) = events[-1]["response"]["output"]
    is_whole = ending == "client_calls"
    assert item["status"] == ("completed" if is_whole else "incomplete")
    assert events[-1]["response"]["status"] == item["status"]
