"""Pages in odd charsets: read as what they are, without making the server wait."""

import asyncio
import encodings.aliases
import ipaddress
import time

import pytest
from origins import origin, reply

from runner.web.addresses import Guard
from runner.web.charsets import CODECS, codec_of
from runner.web.fetch import Body, Fetcher
from runner.web.pages import Pages
from sandbox import Policy

MORE_LABELS = (
    *("punycode", "idna", "undefined", "rot13", "unicode_escape", "raw_unicode_escape", "utf-7"),
    *("zip", "base64", "hex", "bz2", "uu", "quopri", "mbcs", "no such charset", "utf-8\\x00", "é"),
)
SAFE = {"", *CODECS.values()}
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


LABELS = sorted({*encodings.aliases.aliases, *encodings.aliases.aliases.values(), *MORE_LABELS})


@pytest.mark.slow
async def test_whatever_charset_is_named_text_is_read_in_time(pages):
    """Of what Python knows as codecs: some fail always, some are slow, some are no charsets."""
    body = b"frogs jump, -" + b"b" * 20_000 + b" \xe9\xff"
    async with origin() as site:
        fetcher = Fetcher(Guard(allowed=[ipaddress.ip_network("127.0.0.0/8")]))
        for number, label in enumerate(LABELS):
            kind = f"text/plain; charset={label}"
            site.answers[f"/{number}"] = reply(body, kind)
            work = fetcher.get(f"{site.url}/{number}")
            found, stall_s = await longest_stall(work)
            assert stall_s < STALL_S, label
            assert codec_of(found.charset) in SAFE, label
        for codec in sorted(SAFE - {""}):
            page = Body(site.url, "text/plain", codec, body)
            document, stall_s = await longest_stall(pages.read(page))
            assert document.text, codec
            assert stall_s < STALL_S, codec


@pytest.mark.parametrize(
    "kind",
    [
        "text/plain; charset*=punycode''-" + "b" * 50_000,
        "text/plain; charset*=undefined''%ff",
        "text/plain; charset*" + "9" * 5000 + "=x",
        "text/plain; " + ";" * 50_000,
        "text/plain; charset=" + "a" * 50_000,
        'text/plain; charset="utf-8',
    ],
    ids=["coded", "undecodable", "numbered", "empty", "long", "unclosed"],
)
async def test_no_form_of_the_header_makes_the_server_wait(pages, kind):
    document, stall_s = await longest_stall(read(pages, b"frogs", kind))
    assert document.text == "frogs"
    assert stall_s < STALL_S
