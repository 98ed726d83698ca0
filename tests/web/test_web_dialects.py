"""The web tools behind the three dialects: offered, called, shown and counted."""

import ipaddress
import json

import dashscope
import pytest
from dashscope import AioGeneration
from openai import AsyncOpenAI
from origins import ARTICLE, origin, reply
from scripted import CALLED, STOPPED, ScriptedModel, say, spent
from serving import KEY, MODEL, config, directory, serving

from runner.config import PagesSettings, SearchSettings
from runner.models.port import CallDelta
from runner.transcript import Turn

TOOLS = [{"type": "web_search"}, {"type": "web_extractor"}]
ANSWER = "Frog number 7 jumped 21 metres."
SEARCH = {"enable_search": True, "search_options": {"search_strategy": "agent_max"}}


def calling(name: str, call_id: str, **arguments):
    return CallDelta(0, json.dumps(arguments), id=call_id, name=name)


def talk(url: str) -> ScriptedModel:
    return ScriptedModel(
        [calling("web_search", "s", query="frogs"), spent(10, 5, 0), CALLED],
        [calling("web_extractor", "e", urls=[url, "http://10.0.0.1/"], goal="number 7"),
         spent(20, 5, 0), CALLED],
        [*say(ANSWER), spent(30, 5, 0), STOPPED],
    )  # fmt: skip


@pytest.fixture
def texts(tmp_path):
    (tmp_path / "frogs.md").write_text("# Frogs\nFrogs jump. See the judges' page.")
    return tmp_path


def settings(texts, **changes):
    opened = PagesSettings(allow_networks=(ipaddress.ip_network("127.0.0.1/32"),))
    search = SearchSettings(backend="folder", folder=str(texts))
    return config(**{"search": search, "pages": opened, **changes})


def results_shown(model: ScriptedModel) -> list[str]:
    turns = [entry for entry in model.requests[-1].entries if isinstance(entry, Turn)]
    return [result.shown for turn in turns for result in turn.results]


async def test_a_response_searches_reads_pages_and_answers(texts):
    async with origin() as site:
        site.answers["/frogs"] = reply(ARTICLE.encode())
        model = talk(f"{site.url}/frogs")
        with serving(directory(model), settings(texts)) as server:
            async with AsyncOpenAI(base_url=f"{server.origin}/v1", api_key=KEY) as asking:
                stream = await asking.responses.create(
                    model=MODEL, input="How far?", tools=TOOLS, stream=True
                )
                events = [event async for event in stream]
    kinds = [event.type for event in events if "web_search" in event.type]
    assert kinds == [f"response.web_search_call.{step}"
                     for step in ("in_progress", "searching", "completed")]  # fmt: skip
    response = events[-1].response
    search, extraction, message = (item.model_dump() for item in response.output)
    assert (search["type"], search["status"]) == ("web_search_call", "completed")
    assert search["action"]["query"] == "frogs"
    assert search["action"]["sources"] == [{"type": "url", "url": "local:frogs.md"}]
    assert (extraction["type"], extraction["status"]) == ("web_extractor_call", "completed")
    assert extraction["goal"] == "number 7"
    assert extraction["urls"] == [f"{site.url}/frogs", "http://10.0.0.1/"]
    assert "Frog number 11 jumped 33 metres" in extraction["output"]
    assert "script words" not in extraction["output"]
    assert message["content"][0]["text"] == ANSWER
    assert response.usage.x_tools == {
        "code_interpreter": {"count": 0}, "web_search": {"count": 1}, "web_extractor": {"count": 1},
    }  # fmt: skip
    found, read = results_shown(model)
    assert found == "[1] Frogs\nlocal:frogs.md\n# Frogs Frogs jump. See the judges' page."
    assert "Frog jumping\n" in read
    assert read.endswith(
        "http://10.0.0.1/\nNot read: The address of 10.0.0.1 is not on the public internet."
    )


async def test_chat_searches_out_of_sight_and_dashscope_counts(texts, monkeypatch):
    with serving(directory(talk("local:frogs.md")), settings(texts)) as server:
        messages = [{"role": "user", "content": "How far?"}]
        async with AsyncOpenAI(base_url=f"{server.origin}/v1", api_key=KEY) as asking:
            stream = await asking.chat.completions.create(
                model=MODEL, messages=messages, stream=True, extra_body=SEARCH,
                stream_options={"include_usage": True},
            )  # fmt: skip
            chunks = [chunk async for chunk in stream]
        texts_said = [one.choices[0].delta.content or "" for one in chunks if one.choices]
        assert "".join(texts_said) == ANSWER
        assert chunks[-1].usage.total_tokens == 75
        monkeypatch.setattr(dashscope, "base_http_api_url", f"{server.origin}/api/v1")
        frames = await AioGeneration.call(
            api_key=KEY, model=MODEL, messages=messages, stream=True, incremental_output=True,
            result_format="message", **SEARCH,
        )  # fmt: skip
        last = [frame async for frame in frames][-1]
        assert last.usage.plugins == {"search": {"count": 1}}


async def test_a_backend_that_fails_does_not_end_the_request(texts):
    model = talk("http://127.0.0.1:9/")
    broken = settings(texts, search=SearchSettings(backend="searxng", url="http://127.0.0.1:9"))
    with serving(directory(model), broken) as server:
        async with AsyncOpenAI(base_url=f"{server.origin}/v1", api_key=KEY) as asking:
            response = await asking.responses.create(model=MODEL, input="How far?", tools=TOOLS)
    assert (response.status, response.output_text) == ("completed", ANSWER)
    assert [item.status for item in response.output] == ["failed", "failed", "completed"]
    found, read = results_shown(model)
    assert found.startswith("The search failed: The search engine cannot be reached")
    assert "Not read: The page cannot be fetched" in read
    assert response.usage.x_tools["web_search"] == {"count": 1}


async def test_without_a_backend_the_tools_are_accepted_and_not_offered(texts):
    model = ScriptedModel([*say("No tools."), STOPPED])
    none = settings(
        texts, search=SearchSettings(backend="none"), pages=PagesSettings(enabled=False)
    )
    with serving(directory(model), none) as server:
        async with AsyncOpenAI(base_url=f"{server.origin}/v1", api_key=KEY) as asking:
            response = await asking.responses.create(model=MODEL, input="How far?", tools=TOOLS)
    assert response.output_text == "No tools."
    assert model.requests[0].tools == ()
    assert response.usage.x_tools == {"code_interpreter": {"count": 0}}
