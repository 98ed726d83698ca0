"""Pieces of calls, numbered and named in every way that endpoints have, into calls."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.models.upstream.call_assembly import CallAssembler, UnreadableCall
from runner.models.upstream.json_end import ObjectScanner

N = "code_interpreter"
TOOLS = (N, "get_weather", "search", "search_pages")
A, B = json.dumps({"code": "a = {1: '}'}"}), json.dumps({"code": 'print("b\\"")'})
ONE, TWO = [(N, A)], [(N, A), (N, B)]


def entry(args=None, *, index=None, id=None, name=None):
    one = {"type": "function", "function": {}}
    if index is not None:
        one["index"] = index
    if id is not None:
        one["id"] = id
    if name is not None:
        one["function"]["name"] = name
    if args is not None:
        one["function"]["arguments"] = args
    return one


def pieces(text, size=5):
    return [text[at : at + size] for at in range(0, len(text), size)]


def assemble(*chunks, tools=TOOLS):
    """(name, arguments) of each call, and its id, that `chunks` of entries make."""
    assembler, told = CallAssembler(tools), []
    for chunk in chunks:
        told += assembler.add(chunk)
    told += assembler.finish()
    calls = {}
    for one in told:
        if one.index not in calls:
            assert one.name, "a call is told with its name first"
            calls[one.index] = [one.name, "", one.id]
        calls[one.index][1] += one.arguments
    found = [calls[number] for number in sorted(calls)]
    return [(name, text) for name, text, _ in found], [one[2] for one in found]


def stream(text, first, more):
    """A call that begins with an entry of `first` and goes on with entries of `more`."""
    return [[entry("", **first)], *([entry(piece, **more)] for piece in pieces(text))]


def numbered(text, index, call_id):
    return stream(text, {"index": index, "id": call_id, "name": N}, {"index": index})


SHAPES = {  # how an endpoint tells calls apart: chunks, calls
    "as OpenAI does": (numbered(A, 0, "x") + numbered(B, 1, "y"), TWO),
    "side by side": ([[entry("", index=0, id="x", name=N), entry("", index=1, id="y", name=N)],
                      [entry(A[:4], index=0)], [entry(B[:4], index=1)],
                      [entry(B[4:], index=1), entry(A[4:], index=0)]], TWO),
    "whole, no index, ids": ([[entry(A, id="x", name=N), entry(B, id="y", name=N)]], TWO),
    "whole, no index, no ids": ([[entry(A, name=N), entry(B, name=N)]], TWO),
    "whole, empty ids": ([[entry(A, id="", name=N), entry(B, id="", name=N)]], TWO),
    "index 0 for all, ids": ([[entry(A, index=0, id="x", name=N)],
                              [entry(B, index=0, id="y", name=N)]], TWO),
    "index 0 for all, no ids": ([[entry(A, index=0, name=N)], [entry(B, index=0, name=N)]], TWO),
    "index 0 for all in one chunk": ([[entry(A, index=0, name=N), entry(B, index=0, name=N)]], TWO),
    "index 0, one id for both": ([[entry(A, index=0, id="x", name=N)],
                                  [entry(B, index=0, id="x", name=N)]], TWO),
    "index 0, pieces, ids at the start": (numbered(A, 0, "x") + numbered(B, 0, "y"), TWO),
    "index 0, pieces, names alone": (stream(A, {"index": 0, "name": N}, {"index": 0})
                                     + stream(B, {"index": 0, "name": N}, {"index": 0}), TWO),
    "no index, pieces, ids at the start": (stream(A, {"id": "x", "name": N}, {})
                                           + stream(B, {"id": "y", "name": N}, {}), TWO),
    "no index, pieces, ids throughout": (stream(A, {"id": "x", "name": N}, {"id": "x"})
                                         + stream(B, {"id": "y", "name": N}, {"id": "y"}), TWO),
    "no index, no ids, pieces": (stream(A, {"name": N}, {}) + stream(B, {"name": N}, {}), TWO),
    "all repeated in each piece": (stream(A, {"index": 0, "id": "x", "name": N},
                                          {"index": 0, "id": "x", "name": N}), ONE),
    "two calls, all repeated": (stream(A, {"index": 0, "id": "x", "name": N},
                                       {"index": 0, "id": "x", "name": N})
                                + stream(B, {"index": 1, "id": "y", "name": N},
                                         {"index": 1, "id": "y", "name": N}), TWO),
    "the name repeated, no ids": (stream(A, {"index": 0, "name": N}, {"index": 0, "name": N}), ONE),
    "another id in later pieces": (stream(A, {"index": 0, "id": "x", "name": N},
                                          {"index": 0, "id": "z"}), ONE),
    "a new id in each piece": ([[entry("", index=0, id="x0", name=N)],
                                *([entry(piece, index=0, id=f"x{at}", name=N)]
                                  for at, piece in enumerate(pieces(A), 1))], ONE),
    "a new index in each piece": ([[entry(piece, index=at, id="x", name=N)]
                                   for at, piece in enumerate(pieces(A))], ONE),
    "the id late": ([[entry("", index=0, name=N)], [entry(A, index=0, id="x")]], ONE),
    "the name late": ([[entry(A[:4], index=0, id="x")], [entry(A[4:], index=0)],
                       [entry("", index=0, name=N)]], ONE),
    "the name empty at first": ([[entry("", index=0, id="x", name="")],
                                 [entry(A, index=0, name=N)]], ONE),
    "the name in pieces": ([[entry("", index=0, id="x", name="code_")],
                            [entry("", index=0, name="interpreter")], [entry(A, index=0)]], ONE),
    "the name in pieces, with arguments": ([[entry(A[:3], index=0, id="x", name="code_")],
                                            [entry(A[3:], index=0, name="interpreter")]], ONE),
    "the name growing": ([[entry("", index=0, name="code_")], [entry("", index=0, name=N)],
                          [entry(A, index=0)]], ONE),
    "a name that begins another": ([[entry("", index=0, id="x", name="search")],
                                    [entry("", index=0, name="_pages")], [entry("{}", index=0)]],
                                   [("search_pages", "{}")]),
    "two objects in one call": ([[entry(A + B, index=0, id="x", name=N)]], TWO),
    "two objects in pieces": (stream(f"{A}\n{B}", {"index": 0, "id": "x", "name": N},
                                     {"index": 0}), TWO),
    "an empty piece behind the end": ([*numbered(A, 0, "x"),
                                       [entry("", index=0, id="x", name=N)]], ONE),
    "the whole call again": ([*numbered(A, 0, "x"), [entry(A, index=0, id="x", name=N)]], ONE),
    "two equal calls": ([[entry(A, index=0, id="x", name=N)], [entry(A, index=0, id="y", name=N)]],
                        [(N, A), (N, A)]),
    "two equal calls without ids": ([[entry(A, index=0, name=N)], [entry(A, index=1, name=N)]],
                                    [(N, A), (N, A)]),
    "an object in place of a list": ([entry(A, index=0, id="0", name=N)], ONE),
    "objects by number": ([{"0": entry(A, id="x", name=N), "1": entry(B, id="y", name=N)}], TWO),
    "a list as text": ([json.dumps([entry(A, name=N)])], ONE),
    "arguments as an object": ([[entry({"code": "1"}, index=0, id="x", name=N)]],
                               [(N, '{"code": "1"}')]),
    "flat": ([[{"id": "x", "name": N, "arguments": A}]], ONE),
    "two tools, no index": ([[entry(A, name=N), entry("{}", name="get_weather")]],
                            [(N, A), ("get_weather", "{}")]),
    "without arguments": ([[entry("", index=0, id="x", name="search"),
                            entry("", index=1, id="y", name="search")]],
                          [("search", ""), ("search", "")]),
    "two names at one index": ([[entry("", index=0, id="x", name="search")],
                                [entry("{}", index=0, id="y", name="get_weather")]],
                               [("search", ""), ("get_weather", "{}")]),
    "an unknown tool": ([[entry("{}", index=0, id="x", name="launch")]], [("launch", "{}")]),
    "arguments that are no JSON": ([[entry("print(1)", index=0, id="x", name=N)],
                                    [entry("print(2)", index=0, id="y", name=N)]],
                                   [(N, "print(1)"), (N, "print(2)")]),
    "the arguments so far again and again": (
        [[entry(A[:end], index=0, id="x", name=N)] for end in (*range(4, len(A), 4), len(A))], ONE),
    "an empty object before the arguments": ([[entry("{}", index=0, id="x", name=N)],
                                              *([entry(piece, index=0)] for piece in pieces(A))],
                                             ONE),
    "two calls with empty objects": ([[entry("{}", index=0, name="search")],
                                      [entry("{}", index=0, name="search")]],
                                     [("search", "{}"), ("search", "{}")]),
    "an empty object alone": ([[entry("{}", index=0, id="x", name="search")]], [("search", "{}")]),
    "a name space": ([[entry(A, index=0, id="x", name=f"default_api.{N}")]], ONE),
    "a token behind the name": ([[entry(A, index=0, id="x", name=f"{N}<|channel|>json")]], ONE),
    "a custom call": ([[{"index": 0, "id": "x", "custom": {"name": N, "input": A}}]], ONE),
    "nothing": ([None, [], [{}], [{"type": "function", "function": {}}]], []),
}  # fmt: skip


@pytest.mark.parametrize("name", SHAPES)
def test_each_shape_gives_the_calls_that_were_meant(name):
    chunks, wanted = SHAPES[name]
    assert assemble(*chunks)[0] == wanted


def test_a_call_without_a_name_means_the_only_tool():
    chunks = [[entry(A, index=0, id="x", name=N)], [entry(B, index=1, id="y")]]
    assert assemble(*chunks, tools=(N,))[0] == TWO
    with pytest.raises(UnreadableCall):
        assemble(*chunks)


def test_the_first_id_of_a_call_is_its_id():
    assert assemble(*numbered(A, 0, "x"), *numbered(B, 1, "y"))[1] == ["x", "y"]
    assert assemble(*SHAPES["a new id in each piece"][0])[1] == ["x0"]


@pytest.mark.parametrize("chunk", [7, "words", [7], [entry("{}", index=0)]])
def test_what_is_no_call_is_said_to_be_none(chunk):
    with pytest.raises(UnreadableCall):
        assemble(chunk)


def test_a_message_that_repeats_the_calls_adds_none():
    assembler = CallAssembler(TOOLS)
    told = [one for chunk in numbered(A, 0, "x") for one in assembler.add(chunk)]
    told += assembler.add_whole([entry(A, id="x", name=N), entry(B, id="y", name=N)])
    assert [(one.index, one.name) for one in told if one.name] == [(0, N), (1, N)]
    assert assembler.count == 2


def test_arguments_without_an_end_are_not_whole():
    assembler = CallAssembler(TOOLS)
    list(assembler.add([entry('{"code": "1', index=0, name=N)]))
    assert not assembler.is_whole
    list(assembler.add([entry('"}', index=0)]))
    assert assembler.is_whole


VALUES = st.recursive(
    st.text(max_size=6) | st.integers() | st.none(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=6,
)


@given(st.dictionaries(st.text(max_size=4), VALUES, max_size=4), st.integers(1, 9), st.booleans())
def test_the_end_of_an_object_is_found_in_any_pieces(value, size, is_ascii):
    text = json.dumps(value, ensure_ascii=is_ascii)
    scanner = ObjectScanner()
    ends = [scanner.feed(piece) for piece in pieces(text, size)]
    assert scanner.is_whole
    assert ends[:-1] == [None] * (len(ends) - 1)
    assert ends[-1] == len(pieces(text, size)[-1])


@given(st.lists(st.sampled_from([A, B]), min_size=1, max_size=4), st.integers(1, 40))
def test_pieces_of_any_size_give_the_same_calls(texts, size):
    chunks = [
        [entry(piece, index=at, id=f"c{at}", name=N)]
        for at, text in enumerate(texts)
        for piece in pieces(text, size)
    ]
    assert assemble(*chunks)[0] == [(N, text) for text in texts]
