"""JSON bodies are bounded in structure before they are parsed, whatever their slices cut."""

import asyncio
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import Request

from runner.errors import RequestError
from runner.server.http import bodies
from runner.server.http.bodies import (
    QUOTES_CAP,
    STRUCTURE_CAP_BYTES,
    check_structure,
    read_body,
)

MiB = 1024 * 1024


@pytest.mark.parametrize(
    "body",
    [
        b"[" + b"{}," * 7_000_000 + b"{}]",
        b"[" + b"1," * STRUCTURE_CAP_BYTES + b"1]",
        b"[" + b'"",' * QUOTES_CAP + b'""]',
        b"[" + b'"\\\\",' * QUOTES_CAP + b'""]',
        b"[" * (2 * MiB),
        b'{"a":"' + b'\\"' * MiB + b'","b":[' + b"[]," * MiB + b"[]]}",
    ],
)
async def test_many_small_values_are_refused(body):
    with pytest.raises(RequestError) as refused:
        await check_structure(body)
    assert refused.value.fault == "too_large"


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-be", "utf-32-le"])
@pytest.mark.parametrize("text", ["{}", '["\u2200"' + ",null" * 3 * MiB + "]"])
async def test_another_encoding_is_refused(text, encoding):
    # Half of U+2200 is a quote: what follows would count as one long string.
    with pytest.raises(RequestError, match="UTF-8"):
        await check_structure(text.encode(encoding))


async def test_a_mark_of_byte_order_is_no_other_encoding():
    await check_structure('{"code": "é"}'.encode("utf-8-sig"))


@pytest.mark.parametrize(
    "text",
    ["a" * 32 * MiB, '{"a": [1, 2]},' * MiB, '\\"' * MiB, '"' * MiB, "\\" * MiB, "é\n" * MiB],
)
@pytest.mark.slow
async def test_long_strings_pass_whatever_they_hold(text):
    await check_structure(json.dumps({"input": text}).encode())
    await check_structure(json.dumps({"input": text}, ensure_ascii=False).encode())


async def test_space_between_values_does_not_count():
    await check_structure(json.dumps([[1] * 1000] * 100, indent=40).encode())


@given(
    value=st.recursive(
        st.text(alphabet='ab"\\,[]{}', max_size=8) | st.integers(0, 9),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner),
        max_leaves=12,
    ),
    size=st.integers(1, 7),
)
@pytest.mark.slow
async def test_slices_of_any_size_count_the_same(value, size, monkeypatch_module):
    body = json.dumps(value, separators=(",", ":")).encode()
    texts = body.replace(b"\\\\", b"").replace(b'\\"', b"").split(b'"')
    structure, quotes = len(b"".join(texts[::2]).replace(b" ", b"")), len(texts) - 1
    monkeypatch_module.setattr(bodies, "UNCOUNTED_BYTES", 0)
    monkeypatch_module.setattr(bodies, "SLICE_BYTES", size)
    monkeypatch_module.setattr(bodies, "STRUCTURE_CAP_BYTES", structure)
    monkeypatch_module.setattr(bodies, "QUOTES_CAP", quotes)
    await check_structure(body)
    for name, exact in (("STRUCTURE_CAP_BYTES", structure), ("QUOTES_CAP", quotes)):
        if exact:
            monkeypatch_module.setattr(bodies, name, exact - 1)
            with pytest.raises(RequestError):
                await check_structure(body)
            monkeypatch_module.setattr(bodies, name, exact)


@pytest.fixture(scope="module")
def monkeypatch_module():
    with pytest.MonkeyPatch.context() as patch:
        yield patch


def sending(owner, *pieces):
    """A request of which these pieces come, and then nothing for a while."""

    async def receive():
        if waiting:
            return {"type": "http.request", "body": waiting.pop(0), "more_body": True}
        await asyncio.sleep(60)

    waiting = list(pieces)
    scope = {"type": "http", "headers": [], "method": "POST", "state": {"owner": owner}}
    return Request(scope, receive)


async def test_what_one_key_is_sending_is_bounded_together(monkeypatch):
    monkeypatch.setattr(bodies, "UNFINISHED_CAP_BYTES", 1000)
    first = [asyncio.ensure_future(read_body(sending("a", b"x" * 400), MiB)) for _ in range(2)]
    await asyncio.sleep(0.01)
    with pytest.raises(RequestError) as refused:
        await read_body(sending("a", b"x" * 400), MiB)
    assert refused.value.fault == "rate"
    other = asyncio.ensure_future(read_body(sending("b", b"x" * 5000), MiB))
    await asyncio.sleep(0.01)
    assert not other.done()
    assert bodies._unfinished == {"a": 800, "b": 5000}
    for task in (*first, other):
        task.cancel()
    await asyncio.gather(*first, other, return_exceptions=True)
    assert bodies._unfinished == {}
