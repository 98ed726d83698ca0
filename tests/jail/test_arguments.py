"""Arguments of a wrong type: an error that shows the right form, and a session that goes on."""

import pytest

from sandbox import FileRefused, Limits, PolicyError, Sandbox, ValueNotCarried


def wordy():
    """To be made longer."""


MANY = {f"A{number}": "" for number in range(600)}
wordy.__doc__ = "x" * 2_000_000
CALLS = {  # call: (what is wrong, a part of what is said)
    "code is a number": (lambda s: s.run(5), "code: is 5, of type int"),
    "code is bytes": (lambda s: s.run(b"1"), "code: is b'1', of type bytes"),
    "code is missing": (lambda s: s.run(None), "code: is None"),
    "code of a try": (lambda s: s.try_run(3), "code: is 3"),
    "code of a check": (lambda s: s.check(3), "code: is 3"),
    "code streamed": (lambda s: list(s.stream(3)), "code: is 3"),
    "stdin is bytes": (lambda s: s.run("1", stdin=b"x"), "stdin: is b'x', of type bytes"),
    "stdin is a number": (lambda s: s.run("1", stdin=3), "stdin: is 3"),
    "script is a number": (lambda s: s.run("1", script=3), "script: is 3"),
    "tools are a list": (lambda s: s.run("1", tools=[len]), 'tools={"search": search}'),
    "tools have a number": (lambda s: s.run("1", tools={"f": 3}), "Give functions"),
    "a tool without a name": (lambda s: s.run("1", tools={3: len}), "tools: is 3"),
    "limits are a dict": (lambda s: s.run("1", limits={"wall_s": 1}), "Give Limits(wall_s=1)"),
    "rollback to a name": (lambda s: s.rollback("x"), "Give what `checkpoint()` gave"),
    "drop of a name": (lambda s: s.drop("x"), "Give what `checkpoint()` gave"),
    "a checkpoint's name": (lambda s: s.checkpoint(5), "name: is 5"),
    "branches by a text": (lambda s: s.fork("2"), "n: is '2'"),
    "half a branch": (lambda s: s.fork(1.5), "n: is 1.5"),
    "True branches": (lambda s: s.fork(True), "n: is True, of type bool"),
    "best of a text": (lambda s: s.best_of("abc"), "Give a list of snippets"),
    "best of none": (lambda s: s.best_of([]), "snippets: has none"),
    "best of numbers": (lambda s: s.best_of([1, 2]), "snippets: is 1"),
    "a name is a number": (lambda s: s.get_value(3), "name: is 3"),
    "a command is a number": (lambda s: s.exec(3), "command: is 3"),
    "a command is bytes": (lambda s: s.exec(b"true"), "command: is b'true'"),
    "a word is bytes": (lambda s: s.exec([b"true"]), "command: is b'true'"),
    "no command": (lambda s: s.exec([]), "Name a program first"),
    "many words": (lambda s: s.exec(["true"] * 5_000), "has 5000 words. Give at most 4096"),
    "many variables": (
        lambda s: s.exec("true", env=dict.fromkeys(map(str, range(600)), "")),
        "600",
    ),
    "a long directory": (lambda s: s.exec("true", cwd="d/" * 4_000), "cwd: has 8000 characters"),
    "words without end": (lambda s: s.exec(["true"] + ["y" * 100_000] * 100), "has 10000004 char"),
    "variables are a list": (lambda s: s.exec(["true"], env=["A=1"]), "Give texts by name"),
    "a variable is a number": (lambda s: s.exec(["true"], env={"A": 1}), "Give texts alone"),
    "cwd is a number": (lambda s: s.exec(["true"], cwd=3), "cwd: is 3"),
    "stdin of a command": (lambda s: s.exec(["cat"], stdin=3), "stdin: is 3"),
    "time is a text": (lambda s: s.exec(["true"], timeout_s="1"), "timeout_s: is '1'"),
    "time is no number": (lambda s: s.exec(["true"], timeout_s=float("nan")), "timeout_s"),
    "data is a number": (lambda s: s.put("a", 3), "Give bytes, text"),
    "data has half a character": (lambda s: s.put("a", "\udcff"), "half a surrogate pair"),
    "completion of a number": (lambda s: s.complete(3), "code: is 3"),
    "a cursor is a text": (lambda s: s.complete("a", cursor="x"), "cursor: is 'x'"),
    "inspection of a number": (lambda s: s.inspect(3), "name: is 3"),
    "a question of a number": (lambda s: s.is_complete(3), "code: is 3"),
    "a life is a text": (lambda s: s.extend("a"), "ttl_s: is 'a'"),
    "a package is no list": (lambda s: s.install("humanize"), "Give a list of texts"),
    "code of a completion is long": (lambda s: s.complete("x" * 30_000_000), "code: has 30000000"),
    "code of a question is long": (lambda s: s.is_complete("(" * 30_000_000), "code: has 3000"),
    "code of a check is long": (lambda s: s.check("x=" * 15_000_000), "code: has 30000000"),
    "a long name": (lambda s: s.get_value("x" * 2_000), "name: has 2000 characters"),
    "a long name that is set": (lambda s: s.set(**{"x" * 2_000: 1}), "name: has 2000"),
    "a long path of names": (lambda s: s.inspect("a." * 2_000), "name: has 4000"),
    "a long name of a checkpoint": (lambda s: s.checkpoint("n" * 2_000), "name: has 2000"),
    "a long name of a program": (lambda s: s.run("1", script="n" * 2_000), "script: has 2000"),
    "long docstrings": (lambda s: s.run("1", tools={"f": wordy}), "Shorten them to 1048576"),
    "a number without end": (lambda s: s.run(10**5000), "code: is a long number"),
}
PATHS = {
    "is a number": (lambda s: s.get(3), "of type int, not str"),
    "is empty": (lambda s: s.put("", b""), "it is empty"),
    "has a NUL": (lambda s: s.put("a\0", b""), "Give a text without NUL"),
}
BOXES = {
    "a policy is a name": (lambda: Sandbox("data"), 'Policy.profile("NAME")'),
    "a policy is a dict": (lambda: Sandbox({"network": "none"}), "policy: is {'network'"),
    "a size is a text": (lambda: Sandbox(pool_size="x"), "pool_size: is 'x'"),
    "half a worker": (lambda: Sandbox(pool_size=1.5), "pool_size: is 1.5"),
    "tools are a list": (lambda: Sandbox(tools=[len]), "Give functions by name"),
    "an engine is a number": (lambda: Sandbox(engine=3), 'Give "local"'),
    "an engine of another project": (lambda: Sandbox(engine="docker"), "ray:"),
    "an address is a number": (lambda: Sandbox.connect(3), "url: is 3"),
    "a key is a number": (lambda: Sandbox.connect("http://127.0.0.1:1", key=3), "key: is 3"),
}
OF_A_BOX = {
    "code is a number": (lambda box: box.run(5), "code: is 5"),
    "snippets are a number": (lambda box: list(box.map(3)), "Give a list of snippets"),
    "snippets are a text": (lambda box: list(box.map("ab")), "Give a list of snippets"),
    "a snippet is a number": (lambda box: list(box.map([1])), "code: is 1"),
    "some at once": (lambda box: list(box.map(["1"], concurrency="a")), "concurrency: is 'a'"),
    "none at once": (lambda box: list(box.map(["1"], concurrency=-1)), "at least 1"),
    "a life is a text": (lambda box: box.session(ttl_s="a"), "ttl_s: is 'a'"),
    "checkpoints are a text": (lambda box: box.session(checkpoints="a"), "checkpoints: is 'a'"),
    "sessions are a text": (lambda box: box.expect("a"), "sessions: is 'a'"),
}


@pytest.fixture(scope="module")
def box():
    with Sandbox() as made:
        yield made


@pytest.fixture(scope="module")
def session(box):
    with box.session() as made:
        made.run("kept = 7")
        yield made


@pytest.mark.parametrize("what", CALLS)
def test_a_wrong_argument_is_told_and_costs_nothing(session, what):
    call, said = CALLS[what]
    with pytest.raises(PolicyError) as error:
        call(session)
    assert said in str(error.value)
    assert session.run("kept").text == "7"


@pytest.mark.parametrize("what", PATHS)
def test_a_path_that_is_none_is_told(session, what):
    call, said = PATHS[what]
    with pytest.raises(FileRefused, match=said):
        call(session)
    assert session.run("kept").text == "7"


@pytest.mark.parametrize(
    "value",
    [object(), {1: 2}, 10**5000, [10**5000], {"a": {1}}, 1j],
    ids=["an object", "a number as a key", "digits", "digits inside", "a set", "a complex"],
)
def test_a_value_that_cannot_travel_is_told(session, value):
    with pytest.raises(ValueNotCarried, match="Give plain values"):
        session.set(x=value)
    assert session.run("kept").text == "7"


@pytest.mark.parametrize("what", BOXES)
def test_a_sandbox_is_not_made_of_what_it_cannot_use(what):
    make, said = BOXES[what]
    with pytest.raises(PolicyError) as error:
        make()
    assert said in str(error.value)


@pytest.mark.parametrize("what", OF_A_BOX)
def test_a_wrong_argument_of_a_sandbox_is_told(box, what):
    call, said = OF_A_BOX[what]
    with pytest.raises(PolicyError) as error:
        call(box)
    assert said in str(error.value)
    assert box.run("1").text == "1"


def test_file_names_that_are_no_text_reach_a_command(session):
    session.run("open(b'\\xff.txt', 'w').write('odd')")
    assert session.exec(["cat", "\udcff.txt"]).stdout == b"odd"


def test_limits_of_one_call_are_taken_as_they_are(session):
    assert session.run("1", limits=Limits(wall_s=5)).text == "1"
