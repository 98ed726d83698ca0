"""The official Python client, as its users write it: Responses and Chat Completions."""

import asyncio

import httpx2
import openai
import pytest
from openai import AsyncOpenAI, OpenAI
from serving import KEY, MODEL
from talking import (
    FILES,
    ONE_CALL,
    PLOT,
    POWER,
    REPAIR,
    SIDE_BY_SIDE,
    SLOW,
    STATE_1,
    STATE_2,
    TWO,
    TWO_CALLS,
)  # fmt: skip

BASES = ("/v1", "/compatible-mode/v1", "/api/v2/apps/protocols/compatible-mode/v1")
TOOLS = [{"type": "code_interpreter"}, {"type": "web_search"}, {"type": "web_extractor"}]
THINK = {"enable_thinking": True}
CODE = {"enable_thinking": True, "enable_code_interpreter": True}


def client(server, base="/v1", **options):
    return OpenAI(base_url=server.origin + base, api_key=KEY, **{"max_retries": 0, **options})


def ask(server, question, base="/v1", **more):
    return client(server, base).responses.create(
        model=MODEL, input=question, tools=TOOLS, extra_body=THINK, **more
    )


@pytest.mark.parametrize("base", BASES)
def test_a_whole_response_has_code_logs_text_and_bill(server, base):
    response = ask(server, TWO_CALLS, base)
    calls = [item for item in response.output if item.type == "code_interpreter_call"]
    assert [call.code for call in calls] == ["123**23", f"{TWO} / 5"]
    assert [call.outputs[0].logs for call in calls] == [TWO, "2.338016430028866e+47"]
    assert calls[0].container_id == calls[1].container_id
    assert response.output_text == f"Run 1: {TWO}. Run 2: 2.338016430028866e+47."
    usage = response.usage
    assert (usage.input_tokens, usage.output_tokens, usage.total_tokens) == (1404, 249, 1653)
    assert usage.output_tokens_details.reasoning_tokens == 101
    assert usage.x_tools.get("code_interpreter").get("count") == 2
    assert response._request_id


def test_a_streamed_response_is_read_as_its_users_read_it(server, nothing_is_left):
    thinking, answer, codes, usage = "", "", [], None
    for chunk in ask(server, ONE_CALL, BASES[2], stream=True):
        if chunk.type == "response.reasoning_summary_text.delta":
            thinking += chunk.delta
        elif chunk.type == "response.output_item.done":
            if hasattr(chunk.item, "code"):
                codes.append((chunk.item.code, chunk.item.outputs[0].logs))
        elif chunk.type == "response.output_text.delta":
            answer += chunk.delta
        elif chunk.type == "response.completed":
            usage = chunk.response.usage
    assert thinking == ("I need an exact value, so I will run Python.The tool returned the number.")
    assert codes == [("123**21", POWER)]
    assert answer == f"123 to the 21st power is {POWER}."
    assert (usage.input_tokens, usage.output_tokens) == (793, 134)
    assert usage.x_tools.get("code_interpreter", {}).get("count") == 1


QUESTIONS = (ONE_CALL, TWO_CALLS, SIDE_BY_SIDE, REPAIR, PLOT)


def seen(response):
    """What a client sees of a response, without the names that each has anew."""
    items = [(item.type, getattr(item, "status", None)) for item in response.output]
    calls = [item for item in response.output if item.type == "code_interpreter_call"]
    outputs = [[one.model_dump() for one in call.outputs] for call in calls]
    return items, [call.code for call in calls], outputs, response.output_text


@pytest.mark.parametrize("question", QUESTIONS)
def test_the_stream_helper_ends_with_the_same_response(server, question):
    with client(server).responses.stream(
        model=MODEL, input=question, tools=TOOLS[:1], extra_body=THINK
    ) as stream:
        kinds = [event.type for event in stream]
        final = stream.get_final_response()
    assert kinds[0] == "response.created"
    assert kinds[-1] == "response.completed"
    assert seen(final) == seen(ask(server, question))


@pytest.mark.parametrize("question", QUESTIONS)
async def test_the_async_stream_helper_does_so_too(server, question):
    async with (
        AsyncOpenAI(base_url=server.origin + "/v1", api_key=KEY) as asking,
        asking.responses.stream(
            model=MODEL, input=question, tools=TOOLS[:1], extra_body=THINK
        ) as stream,
    ):
        code = "".join([
            event.delta async for event in stream
            if event.type == "response.code_interpreter_call_code.delta"
        ])  # fmt: skip
        final = await stream.get_final_response()
    assert seen(final) == seen(ask(server, question))
    assert code == "".join(seen(final)[1])


def test_two_calls_of_one_turn_run_in_order_in_one_session(server, nothing_is_left):
    response = ask(server, SIDE_BY_SIDE)
    _items, codes, outputs, text = seen(response)
    assert codes == ["y = 6", "y * 7"]
    assert [[one["logs"] for one in output] for output in outputs] == [[], ["42"]]
    assert text == "It is 42."
    assert response.usage.x_tools["code_interpreter"]["count"] == 2


async def test_the_async_client_streams_too(server):
    async with AsyncOpenAI(base_url=server.origin + "/v1", api_key=KEY) as asking:
        stream = await asking.responses.create(
            model=MODEL, input=REPAIR, tools=TOOLS, stream=True, extra_body=THINK
        )
        done = [event.item async for event in stream if event.type == "response.output_item.done"]
    calls = [item for item in done if item.type == "code_interpreter_call"]
    assert [call.status for call in calls] == ["completed", "completed"]
    assert "NameError: name 'x' is not defined" in calls[0].outputs[0].logs
    assert calls[1].outputs[0].logs == "42\n"


def test_a_plot_is_an_image_and_a_citation(server):
    response = ask(server, PLOT)
    call, message = response.output[1], response.output[2]
    assert [one.type for one in call.outputs] == ["logs", "image"]
    assert call.outputs[1].url.startswith("data:image/png;base64,iVBOR")
    (cited,) = message.content[0].annotations
    assert (cited.type, cited.filename) == ("container_file_citation", "plot.png")
    text = response.output_text
    assert text[cited.start_index : cited.end_index] == "sandbox:/mnt/data/plot.png"


def test_variables_persist_over_previous_response_id(server):
    first = ask(server, STATE_1)
    second = ask(server, STATE_2, previous_response_id=first.id)
    (call,) = [item for item in second.output if item.type == "code_interpreter_call"]
    assert call.outputs[0].logs == "42"
    assert second.previous_response_id == first.id


def test_variables_persist_over_replayed_output_and_a_named_container(server):
    first = ask(server, STATE_1)
    history = [{"role": "user", "content": STATE_1}, *first.output]
    again = client(server).responses.create(
        model=MODEL, input=[*history, {"role": "user", "content": STATE_2}], tools=TOOLS[:1]
    )
    calls = [item for item in again.output if item.type == "code_interpreter_call"]
    assert calls[0].outputs[0].logs == "42"
    named = client(server).responses.create(
        model=MODEL, input=STATE_2,
        tools=[{"type": "code_interpreter", "container": calls[0].container_id}],
    )  # fmt: skip
    assert named.output[1].outputs[0].logs == "42"


def test_uploaded_files_are_in_the_container(server):
    added = client(server).files.create(file=("data.csv", b"1\n2\n3\n"), purpose="user_data")
    response = client(server).responses.create(
        model=MODEL, input=FILES,
        tools=[{"type": "code_interpreter", "container": {"type": "auto", "file_ids": [added.id]}}],
    )  # fmt: skip
    assert response.output[1].outputs[0].logs == "12\n"


def test_a_response_is_kept_fetched_listed_and_deleted(server):
    asking = client(server)
    made = ask(server, ONE_CALL)
    assert asking.responses.retrieve(made.id).output_text == made.output_text
    items = asking.responses.input_items.list(made.id)
    assert [item.content[0].text for item in items] == [ONE_CALL]
    asking.responses.delete(made.id)
    with pytest.raises(openai.NotFoundError) as caught:
        asking.responses.retrieve(made.id)
    assert f"Response with id '{made.id}' not found." in caught.value.message
    with pytest.raises(openai.BadRequestError) as caught:
        ask(server, STATE_2, previous_response_id=made.id)
    assert caught.value.code == "previous_response_not_found"
    assert caught.value.param == "previous_response_id"


def test_a_response_that_is_not_stored_cannot_be_fetched(server):
    made = ask(server, ONE_CALL, store=False)
    with pytest.raises(openai.NotFoundError):
        client(server).responses.retrieve(made.id)


def test_a_background_response_is_polled_streamed_again_and_cancelled(server):
    asking = client(server)
    queued = ask(server, ONE_CALL, background=True)
    assert queued.status == "queued"
    server.wait_until(lambda: asking.responses.retrieve(queued.id).status == "completed")
    again = list(asking.responses.retrieve(queued.id, stream=True, starting_after=5))
    assert again[0].sequence_number == 6
    assert again[-1].type == "response.completed"
    for after in (again[-1].sequence_number, 10**6):
        (end,) = asking.responses.retrieve(queued.id, stream=True, starting_after=after)
        assert (end.type, end.response.id) == ("response.completed", queued.id)
    slow = ask(server, SLOW, background=True)
    cancelled = asking.responses.cancel(slow.id)
    assert cancelled.status == "cancelled"
    assert asking.responses.retrieve(slow.id).status == "cancelled"
    assert asking.responses.cancel(slow.id).status == "cancelled"
    with pytest.raises(openai.BadRequestError, match="is completed and cannot be cancelled"):
        asking.responses.cancel(queued.id)


def test_a_watcher_of_a_background_response_sees_how_it_was_cancelled(server):
    asking = client(server)
    slow = ask(server, SLOW, background=True, stream=True)
    seen = []
    for event in slow:
        seen.append(event)
        if event.type == "response.code_interpreter_call.interpreting":
            response_id = seen[0].response.id
            asking.responses.cancel(response_id)
    assert (seen[-1].type, seen[-1].response["status"]) == ("response.cancelled", "cancelled")
    assert [event.sequence_number for event in seen] == list(range(len(seen)))
    added = {event.item.id for event in seen if event.type == "response.output_item.added"}
    done = {event.item.id for event in seen if event.type == "response.output_item.done"}
    assert added == done
    last = [event for event in asking.responses.retrieve(response_id, stream=True)][-1]
    assert last.type == "response.cancelled"


def test_max_tool_calls_is_a_cap_that_the_model_is_told_of(server):
    response = ask(server, TWO_CALLS, max_tool_calls=1)
    assert response.usage.x_tools["code_interpreter"]["count"] == 1
    assert response.status == "completed"


# ---- Chat Completions ---------------------------------------------------------------------------


@pytest.mark.parametrize("base", BASES[:2])
def test_a_chat_stream_thinks_answers_and_never_shows_code(server, base, nothing_is_left):
    thinking, answer, usage, finish = "", "", None, []
    stream = client(server, base).chat.completions.create(
        model=MODEL, messages=[{"role": "user", "content": ONE_CALL}], stream=True,
        stream_options={"include_usage": True}, extra_body=CODE,
    )  # fmt: skip
    for chunk in stream:
        if not chunk.choices:
            usage = chunk.usage
            continue
        delta = chunk.choices[0].delta
        if getattr(delta, "reasoning_content", None) is not None:
            thinking += delta.reasoning_content
        if delta.content is not None:
            answer += delta.content
        finish.append(chunk.choices[0].finish_reason)
        assert "123**21" not in chunk.model_dump_json()
    assert answer == f"123 to the 21st power is {POWER}."
    assert "exact value" in thinking
    assert (usage.prompt_tokens, usage.completion_tokens, usage.total_tokens) == (793, 134, 927)
    assert finish[-1] == "stop"
    assert set(finish[:-1]) == {None}


async def test_fifty_streams_at_once_all_come_to_their_end(server):
    async with AsyncOpenAI(base_url=server.origin + "/v1", api_key=KEY, max_retries=0) as asking:

        async def one():
            stream = await asking.chat.completions.create(
                model=MODEL, messages=[{"role": "user", "content": REPAIR}], stream=True,
                extra_body=CODE,
            )  # fmt: skip
            return "".join([chunk.choices[0].delta.content or "" async for chunk in stream])

        async def other():
            response = await asking.responses.create(
                model=MODEL, input=REPAIR, tools=TOOLS[:1], stream=True, extra_body=THINK
            )
            return "".join([
                event.delta async for event in response
                if event.type == "response.output_text.delta"
            ])  # fmt: skip

        asked = [one() if number % 2 else other() for number in range(50)]
        answers = await asyncio.gather(*asked)
    assert answers == ["x + 1 is 42 once x is 41."] * 50
    server.wait_until(lambda: not server.services.streams.open)


# ---- errors and leaving -------------------------------------------------------------------------


def chat(asking, **changes):
    return asking.chat.completions.create(
        **{"model": MODEL, "messages": [{"role": "user", "content": ONE_CALL}], "stream": True,
           "extra_body": CODE, **changes}
    )  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "error", "code", "param"),
    [
        ({"model": "nobody"}, openai.NotFoundError, "model_not_found", "model"),
        ({"messages": []}, openai.BadRequestError, "invalid_parameter_error", "messages"),
    ],
)  # fmt: skip
def test_a_wrong_request_is_the_clients_own_exception(server, changes, error, code, param):
    with pytest.raises(error) as caught:
        chat(client(server), **changes)
    assert (caught.value.code, caught.value.param) == (code, param)
    assert caught.value.type == "invalid_request_error"
    assert caught.value.request_id


def test_a_wrong_key_is_an_authentication_error(server):
    asking = OpenAI(base_url=server.origin + "/v1", api_key="sk-wrong", max_retries=0)
    with pytest.raises(openai.AuthenticationError) as caught:
        asking.models.list()
    assert caught.value.code == "invalid_api_key"


def test_models_are_listed(server):
    assert [model.id for model in client(server).models.list()] == [MODEL]


def test_a_client_that_leaves_mid_stream_leaves_nothing_running(server, nothing_is_left):
    stream = ask(server, SLOW, stream=True)
    for event in stream:
        if event.type == "response.code_interpreter_call.interpreting":
            break
    assert server.services.streams.open
    stream.close()
    server.wait_until(lambda: not server.services.streams.open)


def test_a_heartbeat_fills_the_silence(server, nothing_is_left):
    body = {"model": MODEL, "messages": [{"role": "user", "content": SLOW}], "stream": True, **CODE}
    with httpx2.stream(
        "POST", f"{server.origin}/v1/chat/completions", json=body,
        headers={"authorization": f"Bearer {KEY}"},
    ) as reply:  # fmt: skip
        lines = reply.iter_lines()
        assert any(line == ": keep-alive" for line in lines)
