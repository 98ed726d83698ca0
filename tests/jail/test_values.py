"""Values into a session and out of it, and what it says of its variables."""

import math

import pytest

from sandbox import Limits, Policy, Sandbox, ValueNotCarried

numpy = pytest.importorskip("numpy")
pandas = pytest.importorskip("pandas")
MiB = 1024 * 1024


@pytest.fixture(scope="module")
def box():
    with Sandbox(Policy(preload=["pandas"])) as made:
        yield made


@pytest.fixture
def session(box):
    with box.session() as made:
        yield made


@pytest.mark.parametrize(
    "value",
    [
        None, True, 0, -(2**70), 1.5, math.inf, "tëxt", b"\x00\xff", [1, [2, None]],
        {"a": {"b": [True]}}, "x" * 3_000_000, b"y" * 5_000_000,
    ],
)  # fmt: skip
def test_a_plain_value_comes_back_as_it_went(session, value):
    session.set(value=value)
    assert session.get_value("value") == value
    assert type(session.get_value("value")) is type(value)


@pytest.mark.parametrize(
    "array",
    [
        numpy.arange(6).reshape(2, 3),
        numpy.asfortranarray(numpy.ones((3, 2), dtype="float32")),
        numpy.array([], dtype="int8"),
        numpy.array(["2026-11-30"], dtype="datetime64[D]"),
        numpy.array(3 + 4j),
    ],
)
def test_an_array_comes_back_as_it_went(session, array):
    session.set(a=array)
    assert session.run("type(a).__name__, a.shape, str(a.dtype)").text == repr(
        ("ndarray", array.shape, str(array.dtype))
    )
    back = session.get_value("a")
    numpy.testing.assert_array_equal(back, array)
    assert back.dtype == array.dtype


def test_a_table_goes_in_is_worked_on_and_comes_back(session):
    frame = pandas.DataFrame(
        {
            "n": [1, 2, 3],
            "f": [1.5, None, 3.0],
            "t": ["a", None, "c"],
            "b": [True, False, True],
            "d": pandas.to_datetime(["2026-01-01", None, "2026-03-01"]),
            "z": pandas.to_datetime(["2026-01-01"] * 3).tz_localize("Europe/Berlin"),
        },
        index=pandas.Index(["x", "y", "z"], name="key"),
    )
    session.set(df=frame, n=3)
    assert session.run("df['n'].sum() * n").text in ("18", "np.int64(18)")
    pandas.testing.assert_frame_equal(session.get_value("df"), frame, check_dtype=False)
    session.run("s = df.groupby('b')['n'].sum()")
    assert session.get_value("s").to_dict() == {False: 2, True: 4}


def test_what_cannot_be_carried_is_named_with_its_reason(session):
    with pytest.raises(ValueNotCarried, match="there is no variable 'nowhere'"):
        session.get_value("nowhere")
    session.run("class Odd: pass\nodd = Odd()\nf = lambda: 0\no = [object()]")
    for name in ("odd", "f", "o"):
        with pytest.raises(ValueNotCarried, match="cannot travel"):
            session.get_value(name)
    with pytest.raises(ValueNotCarried, match="value: a"):
        session.set(value=object())
    assert session.run("1").text == "1"


def test_variables_have_type_shape_size_and_preview(session):
    session.run("import numpy as np\nx = np.zeros((3, 2))\nt = 'text'\n_hidden = 1\nimport math")
    found = {variable.name: variable for variable in session.variables()}
    assert set(found) == {"x", "t"}
    assert (found["x"].type, found["x"].shape, found["x"].size_bytes) == (
        "numpy.ndarray", (3, 2), 48,
    )  # fmt: skip
    assert (found["t"].shape, found["t"].preview) == ((4,), "'text'")


def test_a_preview_asks_nothing_of_a_class_of_the_guest(session):
    session.run("class Loud:\n    def __repr__(self): raise SystemExit(1)\nloud = Loud()")
    [loud] = [variable for variable in session.variables() if variable.name == "loud"]
    assert loud.preview == "<Loud>"


def test_names_are_completed_after_a_dot_and_without(session):
    session.run("import pandas as pd\nlonely = 1")
    found = session.complete("pd.Da", 5)
    assert "DataFrame" in found.matches
    assert (found.start, found.end) == (3, 5)
    assert session.complete("lone").matches == ("lonely",)
    assert session.complete("x = lone + 1", 8).start == 4


@pytest.mark.parametrize(
    "code",
    ["undefined_name.", "undefined_name.x", "word.nothing.", "f().", "1.", "word..", "odd.x."],
)
def test_what_leads_to_nothing_is_completed_with_nothing(session, code):
    session.run("word = 'a'\nclass Odd:\n    x = property(lambda self: 1 / 0)\nodd = Odd()")
    found = session.complete(code)
    assert (found.matches, found.end) == ((), len(code))
    assert session.complete("word.upp").matches == ("upper",)


def test_an_object_is_described(session):
    session.run("import pandas as pd\ndf = pd.DataFrame({'a': [1]})")
    found = session.inspect("df.groupby")
    assert found.type == "method"
    assert "by" in found.signature
    assert "Group DataFrame" in found.docstring
    with pytest.raises(ValueNotCarried, match="not defined"):
        session.inspect("nothing.here")


@pytest.mark.parametrize(
    ("code", "answer"),
    [
        ("1 + 1", "complete"),
        ("for x in y:", "incomplete"),
        ("for x in y:\n    pass", "incomplete"),
        ("for x in y:\n    pass\n", "complete"),
        ("f(1,", "incomplete"),
        ("'''open", "incomplete"),
        ("x = = 1", "invalid"),
        ("await f()", "complete"),
        ("%matplotlib inline", "complete"),
        ("", "complete"),
    ],
)
def test_code_is_complete_incomplete_or_invalid(session, code, answer):
    assert session.is_complete(code) == answer


def test_values_stay_in_their_session_and_its_branches(session):
    session.set(a=[1])
    branch = session.fork()
    branch.run("a.append(2)")
    assert branch.get_value("a") == [1, 2]
    assert session.get_value("a") == [1]
    branch.close()


def test_a_text_that_its_reader_could_not_hold_is_refused_before_it_is_read(session):
    session.run("many = [[]] * 3_000_000")
    with pytest.raises(ValueNotCarried, match="more than 50000 lists and dicts"):
        session.get_value("many")
    assert session.run("len(many)").text == "3000000"


def test_a_name_that_is_no_variable_is_told_with_those_that_are() -> None:
    with Sandbox(pool_size=0) as box, box.session() as session:
        with pytest.raises(ValueNotCarried) as seen:
            session.get_value("totl")
        assert str(seen.value) == "totl: there is no variable 'totl': there are none yet."
        session.run("import os\nalpha, total, _hidden = 1, 2, 3")
        with pytest.raises(ValueNotCarried) as seen:
            session.get_value("totl")
        assert str(seen.value) == "totl: there is no variable 'totl'. There are total, alpha."


def test_a_value_that_no_session_could_hold_leaves_it_as_it_was():
    limits = Limits(memory_bytes=64 * MiB)
    with Sandbox(Policy(limits=limits), pool_size=0) as box, box.session() as session:
        session.run("kept = 1")
        with pytest.raises(ValueNotCarried, match="in all"):
            session.set(huge=bytes(65 * MiB))
        assert session.run("kept").text == "1"
