"""Messages: every one comes back as it was, every mutated field is refused."""

import json
import typing
from dataclasses import asdict, fields

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox.protocol.bounds import NAME_CAP
from sandbox.protocol.codec import message
from sandbox.protocol.frames import Frame, FrameReader
from sandbox.protocol.messages import (
    ROWS_CAP,
    SPECS,
    TEXT_CAP,
    TO_GUEST_CAP_BYTES,
    TO_HOST_CAP_BYTES,
    UNCOUNTED_BYTES,
    AllowSetns,
    Answered,
    AttemptCounts,
    Attempted,
    Branch,
    BuildNamespaces,
    Call,
    CallRefused,
    Check,
    Checked,
    ClearDisplays,
    CommandEnded,
    CommandStarted,
    Confirm,
    CopyReady,
    CopyResult,
    Denied,
    Display,
    Done,
    EndSpare,
    EnterNamespaces,
    EscapedKilled,
    Exec,
    Exited,
    Failed,
    ForkCopy,
    Interrupt,
    Kill,
    Killed,
    KillEscaped,
    Measure,
    Measured,
    Message,
    MessageError,
    NamespacesReady,
    Pause,
    Plan,
    Query,
    Ready,
    RefusalCounts,
    Run,
    SetnsDenied,
    SignalCommand,
    SpareEnded,
    Spawn,
    SpawnHolder,
    Spec,
    TakeRefusals,
    ToolAnswer,
    ToolCall,
    Warm,
    Watch,
    ZygoteReady,
    copy_ready_frame,
    pack,
    ready_frame,
    unpack,
)

DIRECTIONS = sorted({direction for spec in SPECS.values() for direction in spec.directions})
# A guest may send half of a surrogate pair alone; two halves together are one character in JSON.
word = st.text(max_size=12) | st.characters(categories=["Cs"])
name = word
pid = st.integers(1, 2**22)
size = st.integers(0, 2**62)
line = st.integers(0, 2**31)
scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63) + 1, 2**63 - 1)
    | word
    | st.floats(allow_nan=False, allow_infinity=False)
)


def rows(*columns: st.SearchStrategy[object]) -> st.SearchStrategy[list[list[object]]]:
    return st.lists(st.tuples(*columns).map(list), max_size=3)


FIELDS: dict[type, dict[str, st.SearchStrategy[object]]] = {
    Plan: {"plan": word, "cgroups": st.lists(name, max_size=8), "directory": word},
    SpawnHolder: {"cgroups": st.integers(0, 8)},
    Spawn: {"session": size, "cgroups": st.integers(0, 8), "directory": word},
    ZygoteReady: {
        "layers": st.lists(name, max_size=5),
        "python": word,
        "preload_s": st.floats(0, 1e6),
        "data_bytes": size,
    },
    Failed: {"step": word, "message": word},
    Ready: {"pid": pid, "layers": st.lists(name, max_size=5)},
    Exited: {"pid": pid, "status": st.integers(0, 0xFFFF)},
    Killed: {"count": size, "gone": st.lists(pid, max_size=3)},
    Interrupt: {"pid": pid},
    Kill: {"spare": st.lists(pid, max_size=5), "keeps_commands": st.booleans()},
    Exec: {
        "id": st.integers(1, 2**31),
        "argv": st.lists(word, max_size=3),
        "cwd": word,
        "env": st.dictionaries(word, word, max_size=3),
        "more_follow": st.booleans(),
    },
    EndSpare: {},
    SpareEnded: {},
    SignalCommand: {
        "id": st.integers(1, 2**31),
        "number": st.integers(1, 64),
        "tree": st.booleans(),
    },
    CommandStarted: {"id": st.integers(1, 2**31), "pid": pid},
    CommandEnded: {
        "id": st.integers(1, 2**31),
        "status": st.integers(0, 0xFFFF),
        "user_us": size,
        "system_us": size,
        "peak_kib": size,
    },
    Watch: {"pid": pid},
    TakeRefusals: {},
    CallRefused: {
        "call": word,
        "arguments": st.dictionaries(word, word, max_size=3),
        "errno": st.integers(0, 4095),
        "why": word,
        "program": word,
        "is_read": st.booleans(),
    },
    RefusalCounts: {"counts": st.lists(st.integers(1, 2**31), max_size=3), "left_out": size},
    Attempted: {
        "nonce": word,
        "layer": word,
        "action": word,
        "tried": name,
        "arguments": st.dictionaries(word, word, max_size=3),
        "line": line,
        "is_allowed": st.booleans(),
        "rule": name,
    },
    AttemptCounts: {
        "nonce": word,
        "counts": st.lists(st.integers(1, 2**31), max_size=3),
        "left_out": size,
    },
    Run: {
        "nonce": word,
        "number": size,
        "code": word,
        "stdin": st.none() | word,
        "survive": st.booleans(),
        "script": st.none() | word,
        "tools": word,
    },
    ForkCopy: {"nonce": word},
    Measure: {"nonce": word},
    Warm: {},
    Call: {"nonce": word, "function": word, "argument": word},
    Pause: {"stopped": st.booleans()},
    Branch: {},
    BuildNamespaces: {"cgroups": st.integers(0, 8)},
    NamespacesReady: {"namespaces": st.integers(0, 16)},
    AllowSetns: {"namespaces": st.integers(0, 16), "entrant": st.integers(0, 2**22)},
    SetnsDenied: {"passed": st.integers(0, 16), "entrant": st.integers(0, 2**22)},
    Confirm: {"pid": pid},
    KillEscaped: {"entrants": st.lists(pid, max_size=5), "looks": st.booleans()},
    EscapedKilled: {"escaped": size},
    EnterNamespaces: {
        "nonce": word,
        "namespaces": st.integers(0, 16),
        "cgroups": st.integers(0, 8),
    },
    CopyResult: {"nonce": word, "refusal": word},
    Measured: {"nonce": word, "private_bytes": size},
    Check: {"nonce": word, "code": word},
    CopyReady: {"pid": pid},
    Display: {
        "nonce": word,
        "bundle": st.dictionaries(name, word, max_size=4),
        "metadata": st.dictionaries(name, scalars, max_size=4),
        "number": size,
    },
    ClearDisplays: {"nonce": word},
    Denied: {
        "nonce": word,
        "layer": word,
        "tried": word,
        "rule": word,
        "hint": word,
        "line": line,
    },
    Done: {
        "nonce": word,
        "ended": st.sampled_from(["completed", "raised", "refused"]),
        "text": st.none() | word,
        "error_type": word,
        "error_message": word,
        "error_traceback": word,
        "error_errno": st.integers(0, 4096),
        "refused_line": line,
        "in_place": word,
        "names": rows(st.sampled_from(["added", "changed", "removed"]), name, name, name, size),
        "exit_code": st.integers(-2, 255),
        "slow_import": word,
        "slow_import_ms": st.integers(0, 2**31),
    },
    Query: {
        "nonce": word,
        "kind": st.sampled_from(["set", "get", "variables", "complete", "inspect", "is_complete"]),
        "text": word,
        "number": size,
    },
    Answered: {"nonce": word, "body": word, "refusal": word},
    ToolCall: {"nonce": word, "id": size, "name": word, "arguments": word},
    ToolAnswer: {"id": size, "result": word, "error_type": word, "error_message": word},
    Checked: {
        "nonce": word,
        "imports": rows(name, line, st.sampled_from(["allow", "refuse", "log", "kill"]), name),
        "refusals": rows(line, name, name),
        "syntax_error": word,
        "findings": rows(line, name, st.sampled_from(["note", "warning", "danger"]), name, name),
    },
}

WRONG: list[typing.Any] = [
    None,
    True,
    -1,
    2**70,
    1.5,
    1e308,
    "no such word",
    [],
    {},
    [None],
    [[]],
    [True],
    [-1],
]
WRONG += [["added", 1, "t", "s", 0], ["a", "b"], {"a": None}, {"a": []}, {"a": {}}, [["a"]]]
TYPES: dict[object, tuple[type, ...]] = {
    str: (str,),
    int: (int,),
    float: (int, float),
    bool: (bool,),
    str | None: (str, type(None)),
}


def message_of(cls: type) -> st.SearchStrategy[Message]:
    return st.builds(cls, **FIELDS[cls])


messages = st.sampled_from(list(SPECS.values())).flatmap(
    lambda spec: st.tuples(st.just(spec), message_of(spec.cls))
)


def reframed(spec: Spec, body: object) -> Frame:
    return Frame(spec.kind, json.dumps(body).encode())


def is_certainly_wrong(spec: Spec, field: str, value: object) -> bool:
    """From the annotation alone, so that the bounds are not their own judge."""
    annotation = typing.get_type_hints(spec.cls)[field]
    if annotation in TYPES:
        if type(value) not in TYPES[annotation]:
            return True
        return isinstance(value, int | float) and not 0 <= value < 1e300
    if typing.get_origin(annotation) is typing.Literal:
        return value not in typing.get_args(annotation)
    if typing.get_origin(annotation) is list:
        if type(value) is not list:
            return True
        (item,) = typing.get_args(annotation)
        if typing.get_origin(item) is list:
            return bool(value)
        return any(type(entry) is not item or entry == -1 for entry in value)
    if type(value) is not dict:
        return True
    if field == "bundle":
        return bool(value)
    return any(type(entry) in (list, dict) for entry in value.values())


def test_every_message_has_a_strategy_here():
    assert set(SPECS) == set(FIELDS)
    for cls, strategies in FIELDS.items():
        assert {field.name for field in fields(cls)} == set(strategies)


def test_a_kind_that_is_taken_in_its_direction_is_refused():
    with pytest.raises(TypeError, match="Taken: kind 12 to_init is taken"):

        @message(12, "to_init")
        class Taken(Message):
            pass


def test_a_field_without_a_bound_is_refused():
    with pytest.raises(TypeError, match=r"Loose\.size: annotate it with its bound"):

        @message(254, "to_init")
        class Loose(Message):
            size: int

    with pytest.raises(MessageError, match="kind 254 is no message"):
        unpack("to_init", Frame(254, b"{}"))


@given(messages)
def test_a_message_comes_back_as_it_was(case):
    spec, message = case
    (frame,) = FrameReader(TO_GUEST_CAP_BYTES).feed(pack(message))
    for direction in spec.directions:
        again = unpack(direction, frame)
        assert again == message
        assert type(again) is spec.cls


@given(pid)
def test_a_copy_is_announced_in_the_same_bytes_by_the_shorter_way(number):
    assert copy_ready_frame(number) == pack(CopyReady(number))


@given(pid, st.lists(name))
def test_a_jail_is_announced_in_the_same_bytes_by_the_shorter_way(number, layers):
    encoded = json.dumps(layers, separators=(",", ":")).encode()
    assert ready_frame(number, encoded) == pack(Ready(number, layers))


with_fields = messages.filter(lambda case: bool(case[0].bounds))


@given(with_fields, st.data())
def test_a_field_of_a_wrong_type_or_range_is_refused(case, data):
    spec, message = case
    field = data.draw(st.sampled_from(sorted(spec.bounds)))
    value = data.draw(
        st.sampled_from([value for value in WRONG if is_certainly_wrong(spec, field, value)])
    )
    with pytest.raises(MessageError, match=f"{spec.cls.__name__}.{field}: out of bounds"):
        unpack(spec.directions[0], reframed(spec, {**asdict(message), field: value}))


@given(with_fields, st.data())
def test_a_missing_field_is_refused(case, data):
    spec, message = case
    body = asdict(message)
    del body[data.draw(st.sampled_from(sorted(body)))]
    with pytest.raises(MessageError, match="fields are missing or unknown"):
        unpack(spec.directions[0], reframed(spec, body))


@given(messages, name)
def test_an_unknown_field_is_refused(case, extra):
    spec, message = case
    body = {**asdict(message), f"{extra}?": 1}
    with pytest.raises(MessageError, match="fields are missing or unknown"):
        unpack(spec.directions[0], reframed(spec, body))


@given(messages, st.sampled_from(DIRECTIONS))
def test_a_message_in_another_direction_is_refused(case, direction):
    spec, message = case
    (frame,) = FrameReader(TO_GUEST_CAP_BYTES).feed(pack(message))
    if direction in spec.directions:
        assert unpack(direction, frame) == message
    else:
        with pytest.raises(MessageError, match=f"kind {spec.kind} is no message"):
            unpack(direction, frame)


@given(
    kind=st.integers(0, 255),
    body=st.binary(max_size=200),
    direction=st.sampled_from(DIRECTIONS),
)
def test_garbage_is_never_more_than_a_message_error(kind, body, direction):
    with pytest.raises(MessageError):
        unpack(direction, Frame(kind, body))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b'{"pid": NaN}',
        b'{"pid": Infinity}',
        b'{"pid": 1} x',
        b'\xef\xbb\xbf{"pid": 1}',
        '{"pid": 1}'.encode("utf-16"),
        b'{"pid": \xed\xa0\x80}',
        b"[" * 100_000,
        b'{"pid": ' + b"9" * 5000 + b"}",
    ],
)
def test_what_is_no_plain_json_object_is_refused(body):
    with pytest.raises(MessageError, match="CopyReady: "):
        unpack("from_guest", Frame(SPECS[CopyReady].kind, body))


def done(**changes: object) -> dict[str, object]:
    plain = Done("n", "completed", None, "", "", "", 0, 0, "", [])
    return {**asdict(plain), **changes}


@pytest.mark.parametrize(
    ("field", "longest"),
    [
        ("nonce", "n" * 64),
        ("text", "x" * TEXT_CAP),
        ("error_type", "E" * NAME_CAP),
        ("error_traceback", "t" * TEXT_CAP),
        ("names", [["added", "n", "int", "", 0]] * ROWS_CAP),
    ],
)
def test_a_field_may_be_as_long_as_its_bound_and_no_longer(field, longest):
    frame = Frame(SPECS[Done].kind, json.dumps(done(**{field: longest})).encode())
    assert getattr(unpack("from_guest", frame), field) == longest
    longer = longest + longest[:1]
    frame = Frame(SPECS[Done].kind, json.dumps(done(**{field: longer})).encode())
    with pytest.raises(MessageError, match=f"Done.{field}: out of bounds"):
        unpack("from_guest", frame)


@pytest.mark.parametrize("literal", ["1e999", "-1e999"])
def test_a_number_that_reads_as_infinity_is_refused(literal):
    body = f'{{"nonce": "", "bundle": {{}}, "metadata": {{"a": {literal}}}, "number": 0}}'
    with pytest.raises(MessageError, match=r"Display\.metadata: out of bounds"):
        unpack("from_guest", Frame(SPECS[Display].kind, body.encode()))


@pytest.mark.parametrize("item", ["[],", "{},", '"ab",', "1,", '"\\"",'])
def test_a_body_that_would_grow_in_its_reader_is_refused_unread(item):
    many = item * (2 * 1024 * 1024 // len(item))
    body = f'{{"nonce": "", "bundle": {{}}, "metadata": [{many}1]}}'
    with pytest.raises(MessageError, match="body is not JSON"):
        unpack("from_guest", Frame(SPECS[Display].kind, body.encode()))


@pytest.mark.parametrize("content", ['[{"a": 1}],', "\\", '"', "é", "x"])
def test_long_text_is_taken_whatever_is_in_it(content):
    bundle = {"text/html": content * (4 * UNCOUNTED_BYTES)}
    (frame,) = FrameReader(TO_HOST_CAP_BYTES).feed(pack(Display("n", bundle, {})))
    assert unpack("from_guest", frame) == Display("n", bundle, {})


def test_the_longest_rows_that_a_message_may_have_are_taken():
    rows = [["changed", "n" * 40, "DataFrame", "(10000, 20)", 2**62]] * ROWS_CAP
    frame = Frame(SPECS[Done].kind, json.dumps(done(names=rows)).encode())
    assert len(frame.body) > UNCOUNTED_BYTES
    assert unpack("from_guest", frame).names == rows
