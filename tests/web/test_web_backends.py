"""Backends over the wire and in their child process: what they find, and how they fail."""

import asyncio
import json
import sys

import psutil
import pytest
from origins import origin, reply

from runner.errors import WebError
from runner.transcript import Source
from runner.web.metasearch import CHILD, Metasearch
from runner.web.searxng import SearXNG

ROWS = [
    {"url": "https://frogs.example/", "title": "Frogs", "content": "They jump."},
    {"url": "javascript:alert(1)", "title": "no page"},
    "no row",
    {"url": "https://toads.example/"},
]
FOUND = [
    Source(url="https://frogs.example/", title="Frogs", snippet="They jump."),
    Source(url="https://toads.example/"),
]


async def test_a_searxng_instance_is_asked_for_json():
    async with origin() as site:
        site.answers["/search?q=jumping+frogs&format=json"] = reply(
            json.dumps({"results": ROWS}).encode(), "application/json"
        )
        backend = SearXNG(f"{site.url}/")
        assert await backend.search("jumping frogs", 5) == FOUND
        assert await backend.search("jumping frogs", 1) == FOUND[:1]


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        (reply(b"<html>", "text/html"), "formats"),
        (reply(b"[]", "application/json"), "formats"),
        (reply(b'{"results": 7}', "application/json"), "formats"),
        (reply(b"no", status="403 Forbidden"), "answered 403"),
        (reply(b"[" * 5_000_000), "too large"),
        (b"garbage\r\n\r\n", "cannot be reached"),
    ],
)
async def test_an_instance_that_fails_is_told_in_words(answer, problem):
    async with origin() as site:
        site.answers["/search?q=frogs&format=json"] = answer
        with pytest.raises(WebError, match=problem):
            await SearXNG(site.url).search("frogs", 5)


async def test_an_instance_that_hangs_or_is_not_there_is_told_in_words():
    async with origin() as site:
        with pytest.raises(WebError, match=r"did not answer within 0\.2 s"):
            await SearXNG(f"{site.url}/hang", timeout_s=0.2).search("frogs", 5)
    with pytest.raises(WebError, match="cannot be reached"):
        await SearXNG(site.url).search("frogs", 5)


def child(code: str) -> tuple[str, ...]:
    return (sys.executable, "-I", "-c", code)


ECHO = (
    "import json, os, sys; order = json.load(sys.stdin); assert 'SECRET' not in os.environ;"
    "json.dump([['https://a.example/', order['query'], str(order['count'])], ['x'], 7], sys.stdout)"
)


async def test_the_metasearch_runs_in_a_child_without_the_servers_environment(monkeypatch):
    monkeypatch.setenv("SECRET", "sk-secret")
    found = await Metasearch(command=child(ECHO)).search("jumping frogs", 3)
    assert found == [Source(url="https://a.example/", title="jumping frogs", snippet="3")]


@pytest.mark.parametrize(
    ("code", "problem"),
    [
        ("raise SystemExit('rate limit')", "No search engine answered"),
        ("print('no json')", "nothing that can be read"),
        ("print('x' * 3_000_000)", "No search engine answered"),
    ],
)
async def test_a_metasearch_that_fails_is_told_in_words(code, problem):
    with pytest.raises(WebError, match=problem):
        await Metasearch(command=child(code)).search("frogs", 3)


async def test_a_metasearch_that_hangs_or_is_cancelled_leaves_no_process():
    hanging = child("import time; time.sleep(600)")
    before = set(psutil.Process().children())
    with pytest.raises(WebError, match=r"longer than 0\.3 s"):
        await Metasearch(command=hanging, timeout_s=0.3).search("frogs", 3)
    task = asyncio.create_task(Metasearch(command=hanging).search("frogs", 3))
    while set(psutil.Process().children()) == before:
        await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert set(psutil.Process().children()) == before


async def test_the_child_asks_the_library_and_says_in_one_line_what_failed():
    """An engine that does not exist: the library refuses before it asks anybody."""
    running = await asyncio.create_subprocess_exec(
        *CHILD, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    order = json.dumps({"query": "", "count": 3, "timeout_s": 1}).encode()
    said, complaint = await running.communicate(order)
    assert (running.returncode, said) == (1, b"")
    assert complaint.decode().startswith("DDGSException: query is mandatory")
