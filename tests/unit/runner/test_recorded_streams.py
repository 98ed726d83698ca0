"""Answers of endpoints, one a file, each read whole, cut anywhere, and through every dialect.

A file is a head of JSON (endpoint, habit, what we do, what must come out), a line of dashes, and
the bytes. All are written for these tests; the table of `docs/upstreams.md` is made of them.
"""

import json
from contextlib import aclosing
from pathlib import Path

import httpx2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runner.errors import UpstreamError
from runner.events import ReasoningDelta, TextDelta
from runner.models.openai_compatible import Endpoint, OpenAICompatible
from runner.models.port import CallDelta, ModelRequest, TurnEnded
from runner.models.upstream.presets import PRESETS
from runner.models.upstream.sse import EventDecoder
from runner.models.upstream.turn_reader import TurnReader
from runner.tools.code_interpreter import SPEC
from runner.transcript import Question

STREAMS = sorted(Path(__file__).with_name("streams").glob("*.stream"))
TABLE = Path(__file__).parents[3] / "docs" / "upstreams.md"
REQUEST = ModelRequest(entries=(Question(text="What is 6 * 7?"),), tools=(SPEC,))


def recorded(path):
    """Head and bytes of a file."""
    head, _, body = path.read_bytes().partition(b"\n---\n")
    return json.loads(head), body


def read(body, cuts=()):
    """The events of a turn whose bytes arrive cut at the places `cuts`."""
    decoder = EventDecoder()
    reader = TurnReader(REQUEST, opens_thinking=False, holds=True)
    events, at = [], 0
    for cut in [*sorted(cuts), len(body)]:
        for found in decoder.feed(body[at:cut]):
            if not reader.is_over:
                events += reader.feed(found)
        at = cut
    for found in decoder.finish():
        if not reader.is_over:
            events += reader.feed(found)
    return events + list(reader.finish(decoder.head))


def outcome(body, cuts=()):
    """What came out, in the words of a head."""
    try:
        events = read(body, cuts)
    except UpstreamError as error:
        return {"fault": error.fault, "words": error.public}
    return summary(events)


def summary(events):
    calls = {}
    for one in events:
        if isinstance(one, CallDelta):
            name, text = calls.get(one.index, (one.name, ""))
            calls[one.index] = (name, text + one.arguments)
    assert isinstance(events[-1], TurnEnded)
    return {
        "calls": [[name, json.loads(text)] for name, text in calls.values()],
        "text": "".join(one.text for one in events if isinstance(one, TextDelta)),
        "thought": "".join(one.text for one in events if isinstance(one, ReasoningDelta)),
        "end": events[-1].reason,
    }


def assert_expected(found, wanted):
    if "fault" in wanted:
        assert found.get("fault") == wanted["fault"], found
        assert wanted["words"] in found["words"]
    else:
        assert found == wanted


@pytest.mark.parametrize("path", STREAMS, ids=lambda path: path.stem)
def test_a_recorded_answer_is_read_whole_and_byte_by_byte(path):
    head, body = recorded(path)
    assert_expected(outcome(body), head["expect"])
    assert_expected(outcome(body, range(len(body))), head["expect"])


@settings(deadline=None, max_examples=60)
@given(st.sampled_from(STREAMS), st.data())
def test_any_split_of_the_bytes_gives_the_same_turn(path, draw):
    _, body = recorded(path)
    cuts = draw.draw(st.lists(st.integers(0, len(body)), max_size=6))
    assert outcome(body, cuts) == outcome(body)


@pytest.mark.parametrize("path", STREAMS, ids=lambda path: path.stem)
@pytest.mark.parametrize("is_watched", [True, False])
async def test_an_endpoint_that_answers_so_is_read_over_http(path, is_watched):
    head, body = recorded(path)
    transport = httpx2.MockTransport(lambda _request: httpx2.Response(200, content=body))
    model = OpenAICompatible(Endpoint(url="http://upstream.test/v1"), transport=transport)
    request = ModelRequest(entries=REQUEST.entries, tools=(SPEC,), is_watched=is_watched)
    try:
        async with aclosing(model.stream(request)) as events:
            found = summary([event async for event in events])
    except UpstreamError as error:
        found = {"fault": error.fault, "words": error.public}
    await model.close()
    assert_expected(found, head["expect"])


def table():
    """The rows of the document, as the files have them."""
    rows = [recorded(path)[0] for path in STREAMS]
    lines = sorted(f"| {row['endpoint']} | {row['habit']} | {row['does']} |" for row in rows)
    return "\n".join(["| endpoint | habit | what we do |", "|---|---|---|", *lines])


def presets_table():
    lines = []
    for preset in PRESETS:
        hosts = ", ".join(f"`{host}`" for host in preset.hosts) or "named in the config"
        omit = ", ".join(f"`{name}`" for name in preset.omit) or "nothing"
        rename = ", ".join(f"`{name}` as `{to}`" for name, to in preset.rename.items()) or "nothing"
        lines.append(
            f"| `{preset.name}` | {hosts} | {omit} | {rename} | `{preset.thinking_field}`"
            f" | `{preset.key_header}` |"
        )
    head = ["| preset | hosts | leaves out | renames | told to think by | key in |"]
    return "\n".join([*head, "|---|---|---|---|---|---|", *lines])


@pytest.mark.parametrize("make", [table, presets_table])
def test_the_document_has_the_tables(make):
    text = TABLE.read_text(encoding="utf-8")
    assert make() in text, f"docs/upstreams.md lacks this table:\n{make()}"
