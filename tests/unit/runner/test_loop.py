"""The loop: order, budgets, endings, and that nothing is left when it is left."""

import asyncio

import pytest
from scripted import CALLED, CUT, STOPPED, ScriptedModel, ScriptedTool, call, say, spent, think

from runner.errors import UpstreamError
from runner.events import (
    ArgumentsDelta,
    CallBegan,
    CallDone,
    CallRunning,
    Ended,
    ReasoningDelta,
    TextDelta,
)
from runner.loop import Budget, Loop
from runner.models.port import (
    UNREADABLE,
    CallDelta,
    ModelRequest,
    Profile,
    Sampling,
    ToolSpec,
)
from runner.transcript import Instruction, Question, ToolCall, Turn, Usage

QUESTION = Question(text="What is 6 times 7?")


def request(**changes):
    return ModelRequest(entries=(QUESTION,), **changes)


async def everything(loop):
    return [event async for event in loop.run()]


async def ended(loop) -> Ended:
    last = (await everything(loop))[-1]
    assert isinstance(last, Ended)
    return last


async def test_a_call_is_run_and_its_result_is_shown_to_the_model():
    model = ScriptedModel(
        [*think("hm"), *call("6*7"), spent(10, 5, 2), CALLED],
        [*say("It is 42."), spent(20, 4, 0), STOPPED],
    )
    tool = ScriptedTool(lambda code: "42")
    events = await everything(Loop(model, request(), [tool]))
    assert tool.ran == ["6*7"]
    kinds = [type(event).__name__ for event in events]
    assert kinds == [
        "RoundBegan", "ReasoningDelta", "CallBegan", "ArgumentsDelta",
        "ArgumentsDelta", "CallRunning",
        "CallDone", "RoundBegan", "TextDelta", "Ended",
    ]  # fmt: skip
    shown = model.requests[1].entries[-1]
    assert isinstance(shown, Turn)
    assert [result.shown for result in shown.results] == ["42"]
    assert events[-1].usage == Usage(input_tokens=30, output_tokens=9, reasoning_tokens=2)
    assert events[-1].counts == {"code_interpreter": 1}
    assert events[-1].ending == "answered"


async def test_two_calls_of_one_turn_run_in_their_order():
    model = ScriptedModel(
        [*call("a = 1"), *call("a + 1", index=1, call_id="call_b"), CALLED],
        [*say("2"), STOPPED],
    )
    tool = ScriptedTool()
    events = await everything(Loop(model, request(), [tool]))
    assert tool.ran == ["a = 1", "a + 1"]
    order = [
        (type(event).__name__, event.call.id)
        for event in events
        if isinstance(event, CallRunning | CallDone)
    ]
    assert order == [
        ("CallRunning", "call_a"), ("CallDone", "call_a"),
        ("CallRunning", "call_b"), ("CallDone", "call_b"),
    ]  # fmt: skip


async def test_ids_that_a_model_gives_twice_or_not_at_all_are_made_unique():
    model = ScriptedModel(
        [*call("1", call_id=""), *call("2", index=1, call_id=""), CALLED],
        [*call("3", call_id="call_1"), CALLED],
        [*say("done"), STOPPED],
    )
    last = await ended(Loop(model, request(), [ScriptedTool()]))
    ids = [one.id for turn in last.turns for one in turn.calls]
    assert len(ids) == len(set(ids)) == 3


async def test_calls_with_one_index_and_two_ids_are_two_calls():
    model = ScriptedModel(
        [
            CallDelta(0, '{"code":"1"}', id="a", name="code_interpreter"),
            CallDelta(0, '{"code":"2"}', id="b", name="code_interpreter"),
            CALLED,
        ],
        [*say("done"), STOPPED],
    )
    tool = ScriptedTool()
    await everything(Loop(model, request(), [tool]))
    assert tool.ran == ["1", "2"]


async def test_an_unknown_tool_is_reported_to_the_model_and_not_counted():
    model = ScriptedModel(
        [CallDelta(0, "{}", id="a", name="launch"), CALLED], [*say("sorry"), STOPPED]
    )
    last = await ended(Loop(model, request(), [ScriptedTool()]))
    assert last.turns[0].results[0].shown == "There is no tool 'launch'. Tools: code_interpreter."
    assert last.counts == {}
    assert last.ending == "answered"


async def test_the_interpreter_answers_to_the_names_that_models_know():
    model = ScriptedModel(
        [CallDelta(0, '{"code":"1"}', id="a", name="python"), CALLED], [*say("1"), STOPPED]
    )
    tool = ScriptedTool()
    await everything(Loop(model, request(), [tool]))
    assert tool.ran == ["1"]


async def test_the_last_round_offers_no_tools_and_says_so_when_it_was_not_heeded():
    model = ScriptedModel([*call("1"), CALLED])
    tool = ScriptedTool()
    last = await ended(Loop(model, request(), [tool], budget=Budget(rounds=2)))
    assert [one.tool_choice for one in model.requests] == ["auto", "none"]
    assert tool.ran == ["1"]
    assert last.ending == "rounds"
    assert all(len(turn.results) == len(turn.calls) for turn in last.turns)


async def test_calls_above_the_budget_are_not_run_and_the_model_is_told():
    model = ScriptedModel(
        [*call("1"), *call("2", index=1, call_id="b"), CALLED], [*say("one"), STOPPED]
    )
    tool = ScriptedTool()
    last = await ended(Loop(model, request(), [tool], budget=Budget(tool_calls=1)))
    assert tool.ran == ["1"]
    assert last.turns[0].results[1].shown.startswith("Not run: this request may make 1 tool calls")
    assert model.requests[1].tool_choice == "none"
    assert (last.ending, last.counts) == ("answered", {"code_interpreter": 1})


async def test_the_token_budget_counts_over_rounds():
    model = ScriptedModel(
        [*call("1"), spent(10, 60, 0), CALLED], [*say("half an ans"), spent(20, 40, 0), CUT]
    )
    last = await ended(Loop(model, request(), [ScriptedTool()], budget=Budget(tokens=100)))
    assert [one.max_tokens for one in model.requests] == [100, 40]
    assert last.ending == "tokens"


async def test_a_call_that_was_cut_short_is_not_run():
    model = ScriptedModel([CallDelta(0, '{"code": "rm', id="a", name="code_interpreter"), CUT])
    tool = ScriptedTool()
    last = await ended(Loop(model, request(), [tool]))
    assert tool.ran == []
    assert last.ending == "length"


async def test_a_deadline_stops_a_model_that_hangs():
    model = ScriptedModel([*say("I "), asyncio.Event()])
    events = await everything(Loop(model, request(), budget=Budget(wall_s=0.01)))
    assert [event.text for event in events if isinstance(event, TextDelta)] == ["I "]
    assert events[-1].ending == "deadline"
    assert model.open == 0


async def test_a_deadline_stops_a_tool_that_hangs():
    model = ScriptedModel([*call("while True: pass"), CALLED], [*say("never"), STOPPED])
    tool = ScriptedTool(wait=asyncio.Event())
    last = await ended(Loop(model, request(), [tool], budget=Budget(wall_s=0.01)))
    assert tool.was_cancelled
    assert last.ending == "deadline"
    assert last.turns[0].results[0].shown == "Stopped: the time for this request is over."


async def test_cancelling_while_a_tool_runs_stops_it_and_asks_no_more():
    model = ScriptedModel([*call("1"), CALLED], [*say("never"), STOPPED])
    tool = ScriptedTool(wait=asyncio.Event())
    task = asyncio.create_task(everything(Loop(model, request(), [tool])))
    await tool.started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert tool.was_cancelled
    assert (model.open, len(model.requests)) == (0, 1)


async def test_closing_the_generator_closes_the_models_stream():
    model = ScriptedModel([*think("a"), asyncio.Event()])
    events = Loop(model, request()).run()
    async for event in events:
        if isinstance(event, ReasoningDelta):
            break
    assert model.open == 1
    await events.aclose()
    assert model.open == 0


async def test_a_stream_without_an_end_is_an_error():
    with pytest.raises(UpstreamError) as caught:
        await everything(Loop(ScriptedModel([*say("half")]), request()))
    assert caught.value.fault == "cut"


async def test_a_forced_tool_is_forced_once():
    model = ScriptedModel([*call("1"), CALLED], [*say("1"), STOPPED])
    await everything(Loop(model, request(tool_choice="required"), [ScriptedTool()]))
    assert [one.tool_choice for one in model.requests] == ["required", "auto"]


async def test_a_profile_opens_the_conversation_and_fills_what_the_client_left_out():
    profile = Profile(
        system="Be careful.",
        examples=(Question(text="1+1?"), Turn(text="2")),
        temperature=0.0,
        max_tokens=50,
    )
    model = ScriptedModel([*say("42"), STOPPED])
    entries = (Instruction(text="Be kind."), QUESTION)
    asked = ModelRequest(entries=entries, max_tokens=80)
    await everything(Loop(model, asked, profile=profile))
    seen = model.requests[0]
    texts = [entry.text for entry in seen.entries]
    assert texts == ["Be careful.", "Be kind.", "1+1?", "2", "What is 6 times 7?"]
    assert (seen.sampling.temperature, seen.max_tokens) == (0.0, 50)
    asked = request(sampling=Sampling(temperature=0.7))
    await everything(Loop(model, asked, profile=profile))
    assert model.requests[1].sampling.temperature == 0.7


async def test_a_function_of_the_client_ends_the_loop_with_its_call():
    model = ScriptedModel([CallDelta(0, '{"city":"Oslo"}', id="f1", name="weather"), CALLED])
    spec = ToolSpec(name="weather", description="", parameters={})
    last = await ended(Loop(model, request(), client_tools=[spec]))
    assert last.ending == "client_calls"
    assert (last.turns[0].calls[0].arguments, last.turns[0].results) == ('{"city":"Oslo"}', ())


async def test_usage_is_estimated_until_the_upstream_counts_it():
    loop = Loop(
        ScriptedModel([*think("x" * 50), *say("y" * 25), spent(7, 30, 0), STOPPED]), request()
    )
    seen = []
    async for event in loop.run():
        seen.append((type(event).__name__, loop.usage))
    by_kind = dict(seen)
    assert by_kind["ReasoningDelta"].reasoning_tokens == 10
    assert by_kind["TextDelta"].output_tokens == 15
    # The upstream says nothing of thinking: its share of the text is its share of the count.
    assert by_kind["Ended"] == Usage(input_tokens=7, output_tokens=30, reasoning_tokens=20)


async def test_arguments_arrive_piece_by_piece():
    model = ScriptedModel([*call("6*7"), CALLED], [*say("42"), STOPPED])
    events = await everything(Loop(model, request(), [ScriptedTool()]))
    pieces = [event.piece for event in events if isinstance(event, ArgumentsDelta)]
    assert "".join(pieces) == '{"code": "6*7"}'
    assert [event.tool for event in events if isinstance(event, CallBegan)] == ["code_interpreter"]


async def test_a_function_of_the_client_is_never_taken_for_another_name_of_a_tool():
    model = ScriptedModel([CallDelta(0, '{"code":"1"}', id="f1", name="python"), CALLED])
    spec = ToolSpec(name="python", description="", parameters={})
    interpreter = ScriptedTool()
    last = await ended(Loop(model, request(), [interpreter], client_tools=[spec]))
    assert (last.ending, interpreter.ran) == ("client_calls", [])


async def test_arguments_that_end_inside_a_string_are_told_back_and_not_run():
    cut = [CallDelta(0, '{"code": "print(1', id="a", name="code_interpreter"), CALLED]
    model, tool = ScriptedModel(cut, [*say("Then not."), STOPPED]), ScriptedTool()
    events = await everything(Loop(model, request(), [tool]))
    assert tool.ran == []
    assert "end inside a string" in events[-1].turns[0].results[0].shown


async def test_a_call_that_could_not_be_read_is_told_back():
    lost = [CallDelta(0, '{"text": "x"}', id="a", name=UNREADABLE), CALLED]
    model, tool = ScriptedModel(lost, [*say("Then not."), STOPPED]), ScriptedTool()
    events = await everything(Loop(model, request(), [tool]))
    assert events[-1].turns[0].results[0].shown.startswith("Not run: the call could not be read")


async def test_an_id_of_an_earlier_turn_is_not_given_to_another_call():
    earlier = Turn(calls=(ToolCall(id="call_a", name="code_interpreter"),))
    model = ScriptedModel([*call("1"), CALLED], [*call("2"), CALLED], [*say("ok"), STOPPED])
    request = ModelRequest(entries=(earlier, Question(text="Go.")))
    events = await everything(Loop(model, request, [ScriptedTool()]))
    assert [turn.calls[0].id for turn in events[-1].turns[:2]] == ["call_a_1", "call_a_2"]


async def test_a_conversation_that_does_not_fit_loses_its_oldest_part_where_it_may():
    too_long = UpstreamError("rejected", "maximum context length is 10 tokens", is_said=True)

    class Small(ScriptedModel):
        async def stream(self, asked):
            if len(asked.entries) > 3:
                raise too_long
            async for event in super().stream(asked):
                yield event

    entries = (Instruction(text="Be kind."), *(Question(text=str(at)) for at in range(5)))
    model = Small([*say("ok"), STOPPED])
    last = await ended(Loop(model, ModelRequest(entries=entries, truncates=True), []))
    assert last.ending == "answered"
    assert [entry.text for entry in model.requests[0].entries] == ["Be kind.", "3", "4"]
    with pytest.raises(UpstreamError):
        await ended(Loop(Small([STOPPED]), ModelRequest(entries=entries), []))
    alone = ModelRequest(entries=(Question(text="x"),) + (Turn(),) * 4, truncates=True)
    with pytest.raises(UpstreamError):
        await ended(Loop(Small([STOPPED]), alone, []))
