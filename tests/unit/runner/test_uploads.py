"""Bodies of uploads: any split is the same file, and a body that is no whole form is refused."""

import itertools
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.requests import Request

from runner.errors import RequestError
from runner.server.e2b.uploads import take_form
from runner.server.http.uploads import safe_name, upload
from runner.server.librechat.forms import read_files
from runner.server.store.blobs import Blobs

EDGE = "----edge"


def part(name, data, filename=None):
    extra = "" if filename is None else f'; filename="{filename}"'
    head = f'--{EDGE}\r\nContent-Disposition: form-data; name="{name}"{extra}\r\n'
    return head.encode() + b"Content-Type: text/plain\r\n\r\n" + data + b"\r\n"


def form(*parts):
    return b"".join(parts) + f"--{EDGE}--\r\n".encode()


def request(pieces, *, kind=f"multipart/form-data; boundary={EDGE}"):
    left = [*pieces]

    async def receive():
        if not left:
            return {"type": "http.disconnect"}
        body = left.pop(0)
        return {"type": "http.request", "body": body, "more_body": bool(left)}

    headers = [(b"content-type", kind.encode())]
    return Request({"type": "http", "headers": headers}, receive)


async def take(tmp_path, pieces, *, cap=1000, **options):
    blobs = Blobs(tmp_path)
    async with upload(request(pieces, **options), blobs, cap) as sent:
        name, fields = sent.filename, dict(sent.fields)
        blob = sent.writer.finish()
    data = await blobs.read(blob.name, blob.sha256)
    return name, fields, data


@given(data=st.binary(max_size=200), cuts=st.lists(st.integers(0, 600), max_size=6))
@settings(deadline=None, max_examples=60)
async def test_any_split_of_a_body_is_the_same_file(tmp_path_factory, data, cuts):
    body = form(part("purpose", b"user_data"), part("file", data, "é b.csv"), part("x", b"y"))
    marks = [0, *sorted(min(cut, len(body)) for cut in cuts), len(body)]
    pieces = [body[a:b] for a, b in itertools.pairwise(marks)]
    found = await take(tmp_path_factory.mktemp("upload"), pieces)
    assert found == ("é b.csv", {"purpose": "user_data", "x": "y"}, data)


WRONG = {
    "no form": ([b"{}"], {"kind": "application/json"}),
    "no boundary": ([b""], {"kind": "multipart/form-data"}),
    "no file": ([form(part("purpose", b"x"))], {}),
    "two files": ([form(part("file", b"1", "a"), part("file", b"2", "b"))], {}),
    "no filename": ([form(part("file", b"1"))], {}),
    "garbage": ([b"\r\nnothing of the kind"], {}),
    "cut": ([form(part("file", b"1234", "a"))[:-12]], {}),
    "a client that left": ([part("file", b"1234", "a"), b""][:1], {}),
    "a field without end": ([form(part("x", bytes(20_000)), part("file", b"", "a"))], {}),
    "too many fields": ([form(*(part(f"x{n}", b"") for n in range(20)))], {}),
    "a field that is no UTF-8": ([form(part("x", b"\xff"), part("file", b"", "a"))], {}),
}


@pytest.mark.parametrize("wrong", WRONG)
async def test_a_body_that_is_no_whole_form_is_refused_and_leaves_nothing(tmp_path, wrong):
    pieces, options = WRONG[wrong]
    with pytest.raises(RequestError):
        await take(tmp_path, pieces, **options)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


async def taken(tmp_path, pieces, **options):
    return await take(tmp_path, pieces, **options)


async def taken_by_librechat(_tmp_path, pieces, **options):
    return await read_files(request(pieces, **options), 1_000_000)


async def taken_by_e2b(_tmp_path, pieces, **options):
    session = Written()
    await take_form(request(pieces, **options), cast(Any, session), lambda path: path, "")
    return session.files


class Written:
    """In place of a session."""

    def __init__(self):
        self.files = {}

    async def put(self, path, source):
        self.files[path] = b"".join([piece async for piece in source])


READERS = (taken, taken_by_librechat, taken_by_e2b)
NO_FORMS = {
    "a boundary that is too long": (
        [b""],
        {"kind": f"multipart/form-data; boundary={'x' * 5000}"},
    ),
    "headers without end": (
        [f"--{EDGE}\r\nContent-Disposition: {'x' * 3000}".encode(), *[b"x" * 3000] * 7],
        {},
    ),
    "many headers": ([f"--{EDGE}\r\n".encode() + b"a: b\r\n" * 6000 + b"\r\n"], {}),
    "very many parts": ([form(*[part("file", b"", "a")] * 1100)], {}),
    "a filename that is no UTF-8": (
        [form(part("file", b"", "name")).replace(b'"name"', b'"\xff"')],
        {},
    ),
    "cut": ([form(part("file", b"1234", "a"))[:-12]], {}),
    "a client that left": ([part("file", b"1234", "a")], {}),
}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("wrong", NO_FORMS)
async def test_every_reader_of_forms_has_the_same_bounds(tmp_path, reader, wrong):
    pieces, options = NO_FORMS[wrong]
    with pytest.raises(RequestError):
        await reader(tmp_path, pieces, **options)


async def test_a_form_of_several_files_is_read_by_those_that_take_them(tmp_path):
    pieces = [form(part("file", b"1", "a"), part("file", b"22", "b%22"))]
    assert await taken_by_librechat(tmp_path, pieces) == [("a", b"1"), ("b%22", b"22")]
    assert await taken_by_e2b(tmp_path, pieces) == {"a": b"1", 'b"': b"22"}


async def test_a_file_may_have_the_cap_and_not_one_byte_more(tmp_path):
    _, _, data = await take(tmp_path, [form(part("file", bytes(1000), "a"))])
    assert len(data) == 1000
    with pytest.raises(RequestError, match="A file may have 1000 bytes") as caught:
        await take(tmp_path, [form(part("file", bytes(1001), "a"))])
    assert caught.value.fault == "too_large"


@pytest.mark.parametrize(
    ("sent", "kept"),
    [("a.csv", "a.csv"), ("/etc/passwd", "passwd"), ("..\\up.txt", "up.txt"), ("a/b/c", "c")],
)
def test_a_name_is_what_stands_last_in_a_path(sent, kept):
    assert safe_name(sent) == kept


@pytest.mark.parametrize("sent", ["", ".", "..", "a/", "a\nb", "a\0b", "x" * 256, "é" * 128])
def test_a_name_that_no_file_can_have_is_refused(sent):
    with pytest.raises(RequestError, match="no usable filename"):
        safe_name(sent)
