"""Fetching what a model asks for: only from checked addresses, only so much, only so long."""

import asyncio
import gzip
import ipaddress
import ssl

import pytest
import trustme
from origins import ARTICLE, HTML, origin, reply

from runner.errors import WebError
from runner.tools.web import WebTools
from runner.web import fetch
from runner.web.addresses import Guard
from runner.web.fetch import Fetcher

PROTOCOL_CLIENT = ssl.PROTOCOL_TLS_CLIENT
LOOPBACK = (ipaddress.ip_network("127.0.0.1/32"),)


def fetcher(**options) -> Fetcher:
    return Fetcher(Guard(allowed=LOOPBACK), **options)


async def test_a_page_comes_with_its_type_and_charset():
    async with origin() as site:
        site.answers["/a"] = reply(ARTICLE.encode(), HTML)
        body = await fetcher().get(f"{site.url}/a")
    assert (body.url, body.mime, body.charset) == (f"{site.url}/a", "text/html", "utf-8")
    assert body.data.decode() == ARTICLE


async def test_a_packed_page_is_unpacked():
    async with origin() as site:
        packed = gzip.compress(ARTICLE.encode())
        site.answers["/a"] = reply(packed, more=("content-encoding: gzip",))
        assert (await fetcher().get(f"{site.url}/a")).data.decode() == ARTICLE


async def test_without_leave_of_the_owner_nothing_is_asked_of_this_machine():
    async with origin() as site:
        forms = ("127.0.0.1", "localhost", "2130706433", "0x7f.1", "0x7f000001", "[::1]",
                 "[::ffff:127.0.0.1]", "127.1", "169.254.169.254")  # fmt: skip
        for host in forms:
            with pytest.raises(WebError, match="not on the public internet"):
                await Fetcher().get(f"http://{host}:{site.port}/a")
        with pytest.raises(WebError, match="This is no URL"):
            await Fetcher().get(f"http://0177.0.0.1:{site.port}/a")
        assert site.asked == []


async def test_the_connection_goes_to_the_address_that_was_checked():
    """A name that answers with another address the second time is looked up once only."""
    answers = iter(["127.0.0.1", "169.254.169.254"])
    looked_up = []

    async def rebinding(host, port):
        looked_up.append(host)
        return [next(answers)]

    async with origin() as site:
        site.answers["/a"] = reply(b"<p>hello</p>")
        guard = Guard(allowed=LOOPBACK, resolver=rebinding)
        body = await Fetcher(guard).get(f"http://rebind.example:{site.port}/a")
        assert body.data == b"<p>hello</p>"
        assert site.asked == [("/a", f"rebind.example:{site.port}")]
        assert looked_up == ["rebind.example"]
        with pytest.raises(WebError, match="not on the public internet"):
            await Fetcher(guard).get(f"http://rebind.example:{site.port}/a")
        assert len(site.asked) == 1


@pytest.mark.parametrize(
    ("target", "problem"),
    [
        ("http://169.254.169.254/latest/meta-data/", "not on the public internet"),
        ("http://10.0.0.1/", "not on the public internet"),
        ("http://[::1]/", "not on the public internet"),
        ("//0x0a000001/", "not on the public internet"),
        ("file:///etc/passwd", "Only http and https"),
        ("gopher://1.1.1.1/", "Only http and https"),
        ("http://user:secret@1.1.1.1/", "user name"),
        ("", "nowhere"),
    ],
)
async def test_a_redirect_is_checked_like_any_url(target, problem):
    async with origin() as site:
        site.redirect("/a", target)
        with pytest.raises(WebError, match=problem):
            await fetcher().get(f"{site.url}/a")
        assert [path for path, _ in site.asked] == ["/a"]


async def test_redirects_are_followed_to_their_end_and_counted():
    async with origin() as site:
        site.redirect("/a", "/b")
        site.answers["/b"] = reply(b"<p>end</p>")
        assert (await fetcher().get(f"{site.url}/a")).url == f"{site.url}/b"
        site.redirect("/round", "/round")
        with pytest.raises(WebError, match="more than 5 times"):
            await fetcher().get(f"{site.url}/round")


@pytest.mark.parametrize("path", ["/endless", "/bomb"])
async def test_a_huge_body_is_cut_off_however_it_is_packed(path):
    async with origin() as site:
        with pytest.raises(WebError, match="larger than 100000 bytes"):
            await fetcher(page_bytes=100_000).get(f"{site.url}{path}")


async def test_a_slow_body_ends_at_the_deadline_and_its_connection_is_closed():
    async with origin() as site:
        with pytest.raises(WebError, match=r"did not come within 0\.3 s"):
            await fetcher(fetch_s=0.3).get(f"{site.url}/hang")
        await asyncio.wait_for(site.left.wait(), 10)


async def test_a_cancelled_fetch_closes_its_connection():
    async with origin() as site:
        task = asyncio.create_task(fetcher().get(f"{site.url}/hang"))
        await asyncio.wait_for(site.hangs.wait(), 10)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.wait_for(site.left.wait(), 10)


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("ftp://1.1.1.1/a", "Only http and https"),
        ("file:///etc/passwd", "Only http and https"),
        ("javascript:alert(1)", "Only http and https"),
        ("no url at all", "Only http and https"),
        ("http://", "Only http and https"),
        ("http://[::1", "This is no URL"),
        ("http://a b/", "no address"),
        ("http://user@1.1.1.1/", "user name"),
        ("http://1.1.1.1:22/", "ports 80, 443, 8080, 8443 only"),
        ("http://1.1.1.1/" + "x" * 5000, "too long"),
    ],
)
async def test_what_is_no_page_of_the_web_is_not_asked_for(url, problem):
    with pytest.raises(WebError, match=problem):
        await Fetcher().get(url)


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        (reply(b"x", status="503 Busy"), "status 503"),
        (reply(b"x", more=("content-encoding: br",)), "coding that is not read: 'br'"),
        (reply(b"not gzip", more=("content-encoding: gzip",)), "coding is broken"),
        (b"garbage\r\n\r\n", "RemoteProtocolError"),
        (reply(b"", status="302 Found"), "redirects to nowhere"),
    ],
)
async def test_a_wrong_answer_is_told_in_words(answer, problem):
    async with origin() as site:
        site.answers["/a"] = answer
        with pytest.raises(WebError, match=problem):
            await fetcher().get(f"{site.url}/a")


@pytest.mark.parametrize(
    ("name", "problem"), [("site.example", ""), ("other.example", "cannot be fetched")]
)
async def test_a_certificate_is_for_the_name_and_not_for_the_address(name, problem):
    authority = trustme.CA()
    here, client = (ssl.SSLContext(kind) for kind in (ssl.PROTOCOL_TLS_SERVER, PROTOCOL_CLIENT))
    authority.issue_cert("site.example").configure_cert(here)
    authority.configure_trust(client)

    async def resolver(_host, _port):
        return ["127.0.0.1"]

    reading = Fetcher(Guard(allowed=LOOPBACK, resolver=resolver), tls=client)
    async with origin(here) as site:
        site.answers["/a"] = reply(b"<p>hello</p>")
        url = f"https://{name}:{site.port}/a"
        if problem:
            with pytest.raises(WebError, match=problem):
                await reading.get(url)
            assert site.asked == []
        else:
            assert (await reading.get(url)).data == b"<p>hello</p>"


async def test_nobody_listening_is_told_in_words():
    async with origin() as site:
        port = site.port
    with pytest.raises(WebError, match="cannot be fetched"):
        await fetcher().get(f"http://127.0.0.1:{port}/")


def test_certificates_are_read_before_there_are_requests(monkeypatch):
    """Reading them holds the interpreter's lock for 0.2 s, in whatever thread it is done."""
    made = []
    monkeypatch.setattr(fetch, "prepare", lambda: made.append(True))
    WebTools().prepare()
    assert not made
    WebTools({"web_search": lambda: None}).prepare()
    assert made == [True]
