"""Pages in odd charsets: read as what they are, without making the server wait."""

import asyncio
import ipaddress
import time

import pytest
from origins import origin, reply

from runner.web.addresses import Guard
from runner.web.fetch import Fetcher
from runner.web.pages import Pages
from sandbox import Policy

STALL_S = 0.5
"""Punycode of the size below takes seconds, of the size that is allowed half an hour."""


@pytest.fixture
async def pages():
    made = Pages(Policy())
    yield made
    await made.close()


async def longest_stall(work):
    """What `work` gives, and for how long nothing else could run meanwhile."""
    worst = 0.0

    async def tick() -> None:
        nonlocal worst
        while True:
            began = time.perf_counter()
            await asyncio.sleep(0.01)
            worst = max(worst, time.perf_counter() - began)

    task = asyncio.create_task(tick())
    try:
        return await work, worst
    finally:
        task.cancel()


async def read(pages, body: bytes, kind: str):
    async with origin() as site:
        site.answers["/a"] = reply(body, kind)
        guard = Guard(allowed=[ipaddress.ip_network("127.0.0.0/8")])
        return await pages.read(await Fetcher(guard).get(f"{site.url}/a"))


@pytest.mark.parametrize("kind", ["text/plain", "text/html"])
@pytest.mark.slow
async def test_a_codec_that_is_no_charset_is_not_used(pages, kind):
    body = b"<p>-" + b"b" * 200_000 + b"</p>"
    for charset in ("punycode", "idna", "undefined", "utf-7", "rot13"):
        document, stall_s = await longest_stall(read(pages, body, f"{kind}; charset={charset}"))
        assert "bbb" in document.text, charset
        assert stall_s < STALL_S, charset


@pytest.mark.slow
async def test_text_is_read_in_its_charset(pages):
    for charset, codec, text in (
        ("windows-1252", "cp1252", "Grüße für 5 €"),
        ("Shift_JIS", "cp932", "蛙が跳ぶ"),
        ("gb2312", "gb18030", "青蛙跳"),
        ("utf-16", "utf-16-le", "frogs jump"),
        ("koi8-r", "koi8-r", "лягушка"),
        ("UTF-8", "utf-8", "naïve"),
    ):
        document = await read(pages, text.encode(codec), f"text/plain; charset={charset}")
        assert document.text == text


async def test_a_page_is_read_in_the_charset_of_its_head(pages):
    body = "<html><body><p>Grüße an alle Frösche der Welt.</p></body></html>".encode("cp1252")
    document = await read(pages, body, "text/html; charset=iso-8859-1")
    assert "Grüße an alle Frösche" in document.text


@pytest.mark.slow
async def test_broken_text_is_repaired_where_it_makes_nobody_wait(pages):
    body = b"\xff\xe2\x28" * 1_000_000
    document, stall_s = await longest_stall(read(pages, body, "text/plain; charset=utf-8"))
    assert document.text.startswith("��(")
    assert stall_s < STALL_S
