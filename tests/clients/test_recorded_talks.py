"""Recorded conversations, through the whole loop in all three dialects.

In the first dialect the model follows the recorded code and every exchange is written down; in
the others the replay answers, which knows a request only when the engine gave the same results
again.
"""

import json

import httpx2
import pytest
from scripted import CALLED, STOPPED, call, say, spent, think
from serving import KEY, MODEL, TalkModel, config, directory, serving

from runner.models.replay import Recorder, Replay
from tests.corpora import BOTH, OWN, PUBLISHED

SETS = {
    OWN: {"traces": 9},
    PUBLISHED: {"traces_mathcoder": 50, "traces_tora": 40, "traces_mint": 20},
}
PRINTING = {OWN: "own/prints", PUBLISHED: "tora"}
"""How the names of talks begin whose programs print what they found."""
PRINTED = {OWN: (3, 3), PUBLISHED: (40, 39)}
"""How many of their snippets there are, and how many at least print what the source saw."""
GENERATION = "/api/v1/services/aigc/text-generation/generation"
CODE = {"enable_code_interpreter": True, "enable_thinking": True}
SETTINGS = config(policy={"preload": ["sympy"]})


def talks(corpora):
    """Question: (codes, what the source saw, answer)."""
    found = {}
    for name, count in SETS[corpora].items():
        rows = corpora.rows(name)
        rows = [row for row in rows if not any(cell.get("host_tool") for cell in row["cells"])]
        for row in rows[:count]:
            cells = row["cells"]
            found[f"{row['id']}: {row.get('question') or row.get('prompt')}"] = (
                [cell["code"] for cell in cells],
                [cell["observation"] for cell in cells],
                f"The answer is {row.get('model_answer', row.get('reference'))}.",
            )
    return found


def script(codes, answer):
    calls = [
        [*think(f"Step {number}. "), *call(code), spent(10, 5, 1), CALLED]
        for number, code in enumerate(codes)
    ]
    return [*calls, [*say(answer), spent(10, 5, 0), STOPPED]]


@pytest.fixture(scope="module", params=BOTH)
def recorded(request, tmp_path_factory):
    """The corpora, their talks, the responses of the first dialect, the file of all exchanges."""
    told = talks(request.param)
    path = tmp_path_factory.mktemp("talks") / "exchanges.jsonl"
    model = TalkModel({asked: script(codes, answer) for asked, (codes, _, answer) in told.items()})
    with serving(directory(Recorder(model, path)), SETTINGS) as server:
        responses = {asked: whole_response(server, asked) for asked in told}
    return request.param, told, responses, path


def post(server, path, body, **headers):
    reply = httpx2.post(
        server.origin + path, json=body, headers={"authorization": f"Bearer {KEY}", **headers},
        timeout=120,
    )  # fmt: skip
    assert reply.status_code == 200, reply.text
    return reply.text


def whole_response(server, asked):
    tools = [{"type": "code_interpreter"}]
    body = {"model": MODEL, "input": asked, "tools": tools, "store": False}
    return json.loads(post(server, "/v1/responses", body))


def test_every_call_is_an_item_with_its_code_and_every_talk_has_its_answer(recorded):
    corpora, told, responses, _ = recorded
    assert len(told) == sum(SETS[corpora].values())
    for asked, (codes, _, answer) in told.items():
        output = responses[asked]["output"]
        items = [item for item in output if item["type"] == "code_interpreter_call"]
        assert [item["code"] for item in items] == codes
        assert output[-1]["content"][0]["text"] == answer
        assert responses[asked]["usage"]["x_tools"]["code_interpreter"]["count"] == len(codes)


def test_programs_that_print_print_what_the_source_saw(recorded):
    corpora, told, responses, _ = recorded
    seen = same = 0
    for asked, (_, observations, _) in told.items():
        if not asked.startswith(PRINTING[corpora]):
            continue
        items = [one for one in responses[asked]["output"] if "code" in one]
        for item, wanted in zip(items, observations, strict=True):
            logs = item["outputs"][0]["logs"] if item["outputs"] else ""
            seen += 1
            same += logs.strip() == (wanted or "").strip()
    wanted_seen, wanted_same = PRINTED[corpora]
    assert seen == wanted_seen
    assert same >= wanted_same


def test_the_other_dialects_replay_every_exchange(recorded):
    _, told, responses, path = recorded
    with serving(directory(Replay.load(path)), SETTINGS) as server:
        for asked, (codes, _, answer) in told.items():
            messages = [{"role": "user", "content": asked}]
            body = {"model": MODEL, "messages": messages, "stream": True, **CODE}
            text, thinking = chat_text(post(server, "/v1/chat/completions", body))
            assert text == answer
            assert thinking == "".join(f"Step {number}. " for number in range(len(codes)))
            body = {"model": MODEL, "input": {"messages": messages}, "parameters": CODE}
            stream = post(server, GENERATION, body, **{"x-dashscope-sse": "enable"})
            lines = [line for line in stream.split("\n") if line.startswith("data:")]
            frames = [json.loads(line.removeprefix("data:")) for line in lines]
            shown = "".join(one["output"]["choices"][0]["message"]["content"] for one in frames)
            info = frames[-1]["output"].get("tool_info", [])
            assert shown == answer
            assert [one["code_interpreter"]["code"] for one in info] == codes
            assert frames[-1]["usage"]["total_tokens"] == responses[asked]["usage"]["total_tokens"]


def chat_text(stream):
    chunks = [json.loads(line[6:]) for line in stream.splitlines() if line.startswith("data: {")]
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks]
    text = "".join(delta.get("content") or "" for delta in deltas)
    return text, "".join(delta.get("reasoning_content") or "" for delta in deltas)
