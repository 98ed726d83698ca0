"""The restricted level: what runs as ever, what is refused before it runs, and while it runs.

Snippets run in this process: the language level is what is tested, not a wall.
"""

from types import ModuleType, SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox.guest.language import guards, restricted
from sandbox.guest.language.restricted import CompiledSnippet
from tests.unit.guarded import FILE, refusal, run_compiled, run_full, run_guarded

# ---- what runs as ever ---------------------------------------------------------------------------

BENIGN = {
    "unpacking": "a, (b, *c) = 1, (2, 3, 4)\n[a, b, c]",
    "loops with unpacking": "[(i, k, v) for i, (k, v) in enumerate({'x': 1}.items())]",
    "comprehensions": "[{x: y for x, y in [(1, 2)]}, {x for x in 'aab'} == {'a', 'b'}]",
    "f-strings": "import math\nf'{math.pi:.2f} {[1][0]!r:>{4}}'",
    "star arguments": "def f(*a, k=0, **d): return a, k, d\nf(*[1, 2], **{'k': 3, 'z': 4})",
    "positional-only parameters": "def f(a, /, b, *, c): return a + b + c\nf(1, 2, c=3)",
    "decorators": (
        "from functools import wraps\n"
        "def twice(f):\n"
        "    @wraps(f)\n"
        "    def inner(*args): return f(*args) * 2\n"
        "    return inner\n"
        "@twice\ndef g(x):\n    'doc'\n    return x\n"
        "[g(2), g.__name__, g.__doc__]"
    ),
    "closures": (
        "def counter():\n    n = 0\n    def step():\n        nonlocal n\n        n += 1\n"
        "        return n\n    return step\nstep = counter()\n[step(), step()]"
    ),
    "dataclasses": (
        "from dataclasses import dataclass, field\n@dataclass(order=True)\nclass P:\n"
        "    x: int\n    ys: list = field(default_factory=list)\n"
        "    def __post_init__(self): self.x += 1\n"
        "[P(1).x, P(1) < P(2), repr(P(1, [2]))]"
    ),
    "inheritance": (
        "class A:\n    made = 0\n    def __init__(self, v): self.v = v; A.made += 1\n"
        "    def __repr__(self): return f'A({self.v})'\n    def __len__(self): return self.v\n"
        "class B(A):\n    def __init__(self, v): super().__init__(v + 1)\n"
        "    def __repr__(self): return 'B' + super().__repr__()\n"
        "[repr(B(1)), len(B(3)), B.made, B(1).__class__.__name__]"
    ),
    "old-style calls of the base": (
        "class E(ValueError):\n    def __init__(self, m): ValueError.__init__(self, m + '!')\n"
        "str(E('no'))"
    ),
    "class keywords": (
        "from typing import TypedDict\nclass T(TypedDict, total=False):\n    a: int\n"
        "[T(a=1), T.__name__]"
    ),
    "enumerations": (
        "from enum import Enum\nclass C(Enum):\n    RED = 1\n[C.RED.name, C(1) is C.RED, len(C)]"
    ),
    "named tuples": (
        "from collections import namedtuple\nfrom typing import NamedTuple\n"
        "class N(NamedTuple):\n    a: int\n[namedtuple('P', 'x y')(1, 2).y, N(3).a]"
    ),
    "context managers": (
        "from contextlib import contextmanager\n@contextmanager\ndef pair():\n    yield 1, 2\n"
        "with pair() as (a, b): c = a + b\nc"
    ),
    "exceptions": (
        "def f():\n    try:\n        return 1 / 0\n    except ZeroDivisionError as error:\n"
        "        return type(error).__name__, str(error)\n    finally: pass\nf()"
    ),
    "generators": "def g():\n    x = yield 1\n    yield from (x or [2, 3])\nlist(g())",
    "walrus and ternary": "[n := 10, 'a' if n > 5 else 'b']",
    "lambdas": "sorted([3, 1, 2], key=lambda x: -x)",
    "slices": "x = list(range(6))\nx[1:3] = [9]\ndel x[0]\nx[::2]",
    "annotated names": "x: int = 3\ny: list[int]\nx",
    "named main": "'yes' if __name__ == '__main__' else 'no'",
    "types": "[type(1) is int, isinstance(int, type), type([]).__name__, type(int) is type]",
    "formatting": "['{} {0}'.replace('{} ', '').format(1), '{a[0]:>{w}}'.format(a=[7], w=3), "
    "'{x}'.format_map({'x': 1}), str.format('{}', 2), '%s' % 3, format(1.5, '.2f')]",
    "getattr and setattr": (
        "class A: pass\na = A()\nsetattr(a, 'x', 1)\nf = lambda: 0\nf.calls = 2\n"
        "[getattr(a, 'x'), getattr(a, 'y', 5), hasattr(a, 'y'), f.calls]"
    ),
    "operators by name": (
        "from operator import attrgetter, methodcaller, itemgetter\n"
        "[attrgetter('real', 'imag')(2), methodcaller('upper')('a'), itemgetter(0)('b')]"
    ),
    "library objects": (
        "from collections import Counter, defaultdict, deque\nimport datetime, json, re\n"
        "c = Counter('aab')\nc['a'] += 5\nd = defaultdict(list)\nd['k'] += [1]\n"
        "[c, d, deque([1]), json.loads('[1]'), re.sub('a', 'b', 'aa'), "
        "datetime.date(2020, 1, 1).year]"
    ),
    "submodules": "import os.path, xml.etree.ElementTree as ET\n[os.path.join('a', 'b'), "
    "ET.fromstring('<a b=\"1\"/>').get('b')]",
    "a variable called printed": "printed = 1\nprinted + 1",
}


@pytest.mark.parametrize("source", BENIGN.values(), ids=BENIGN.keys())
def test_a_benign_snippet_gives_the_same_at_both_levels(source: str) -> None:
    assert repr(run_guarded(source)) == repr(run_full(source))


def test_dir_names_what_can_be_read() -> None:
    assert run_guarded("class A: pass\na = A()\na.x = 1\ndir(a)") == ["x"]


def test_an_in_place_operator_evaluates_its_target_once_and_in_order() -> None:
    source = (
        "log = []\n"
        "def say(word, value):\n    log.append(word)\n    return value\n"
        "class Box: pass\n"
        "box, items = Box(), [1, 2, 3]\nbox.n = 1\n"
        "say('object', box).n += say('value', 4)\n"
        "say('list', items)[say('index', 0)] *= say('factor', 5)\n"
        "items[1:] += [8]\n"
        "[log, box.n, items]"
    )
    assert run_guarded(source) == [
        ["object", "value", "list", "index", "factor"], 5, [5, 2, 3, 8]
    ]  # fmt: skip


def test_an_in_place_operator_leaves_no_name_behind() -> None:
    module = ModuleType("__main__")
    module.__dict__.update(restricted.guards())
    before = set(module.__dict__)
    run_compiled(restricted.compile_module("d = {}\nd['k'] = 1\nd['k'] += 1", FILE), module)
    assert set(module.__dict__) - before == {"d"}
    with pytest.raises(KeyError):
        run_compiled(restricted.compile_module("d['z'] += 1", FILE), module)
    assert set(module.__dict__) - before == {"d"}


operands = st.integers(-5, 5)
signs = st.sampled_from(["+", "-", "*", "//", "%", "&", "|", "^"])


@given(steps=st.lists(st.tuples(st.integers(0, 2), signs, operands), max_size=6))
def test_in_place_operators_compute_what_they_do_at_the_full_level(
    steps: list[tuple[int, str, int]],
) -> None:
    lines = [f"try: x[{i}] {sign}= {n}\nexcept ZeroDivisionError: pass" for i, sign, n in steps]
    source = "\n".join(["x = [1, 2, 3]", *lines, "x"])
    assert run_guarded(source) == run_full(source)


def test_print_writes_to_standard_output_and_can_be_passed_on(
    capsys: pytest.CaptureFixture[str],
) -> None:
    run_guarded("import sys\nprint('a', 1, sep='-')\ndef f(): print('b')\nf()\n"
                "list(map(print, 'c'))\nprint('d', file=sys.stderr)")  # fmt: skip
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("a-1\nb\nc\n", "d\n")


def test_only_the_last_bare_expression_is_echoed() -> None:
    assert restricted.compile_module("x = 1", FILE).echo is None  # type: ignore[union-attr]
    assert restricted.compile_module("1", FILE).body is None  # type: ignore[union-attr]
    assert restricted.compile_module("", FILE) == CompiledSnippet(None, None)
    assert run_guarded("x = 2\nx + 1") == 3


def test_an_error_keeps_the_line_of_the_snippet() -> None:
    with pytest.raises(ZeroDivisionError) as caught:
        run_guarded("class A: pass\na = A()\na.n = 0\nx = [1]\nx[0] /= a.n\n")
    assert caught.traceback[-2].lineno + 1 == 5  # The last entry is the guard's.


def test_a_syntax_error_is_no_refusal() -> None:
    with pytest.raises(SyntaxError, match="expected ':'"):
        restricted.compile_module("def f()", FILE)


# ---- what is refused before it runs --------------------------------------------------------------

REFUSED_SYNTAX = [
    ("x = 1\nawait x", 2, "Await", "Await statements are not allowed."),
    ("async def f(): pass", 1, "AsyncFunctionDef", "AsyncFunctionDef statements are not allowed."),
    ("match 1:\n    case object(real=r): pass", 1, "Match", "Match statements are not allowed."),
    ("try: pass\nexcept* ValueError: pass", 1, "TryStar", "TryStar statements are not allowed."),
    ("exec('1')", 1, "Call", "Exec calls are not allowed."),
    ("from os import *", 1, "ImportFrom", '"*" imports are not allowed.'),
    ("class A(metaclass=int): pass", 1, "ClassDef",
     'The keyword argument "metaclass" is not allowed.'),
]  # fmt: skip


@pytest.mark.parametrize(("source", "line", "construct", "reason"), REFUSED_SYNTAX)
def test_a_forbidden_statement_is_refused_with_line_and_reason(
    source: str, line: int, construct: str, reason: str
) -> None:
    found = refusal(source)
    assert (found.line, found.construct) == (line, construct)
    assert found.reason.startswith(f"{reason} Write instead: ")


HIDDEN_NAMES = [
    "().__class__.__base__.__subclasses__()",
    "(lambda: 0).__globals__",
    "(lambda: 0).__code__",
    "[].append.__self__",
    "print.__self__",
    "x = 1\nx.__dict__",
    "(i for i in ()).gi_frame",
    "(i for i in ()).gi_code",
    "(i for i in ()).gi_yieldfrom",
    "x.f_back.f_globals",
    "x.f_builtins",
    "x.tb_frame",
    "x.tb_next",
    "x.cr_frame",
    "x.ag_frame",
    "x.co_code",
    "x.__class__.__mro__",
    "x.__class__ = int",
    "x.__init__ = 1",
    "x.__name__ = 'y'",
    "x.__class__ += 1",
    "x._private += 1",
    "x.__getattr__",
    "x.__len__()",
    "__builtins__",
    "__import__('os')",
    "_getattr_ = getattr",
    "__metaclass__ = 1",
    "__name__ = 'x'",
    "_print_",
    "_tmp0",
    "import os as _write_",
    "from os import _exit",
    "def _getattr_(x, y): pass",
    "def f(_getattr_, /): pass",
    "def f(*, _getattr_): pass",
    "def f(*_getattr_): pass",
    "lambda _getattr_, /: 1",
    "for _write_ in []: pass",
    "[0 for _write_ in []]",
    "with open('x') as _getattr_: pass",
    "try: pass\nexcept ValueError as _getattr_: pass",
    "(_getattr_ := 1)",
    "_getattr_: int = 1",
    "_getattr_ += 1",
    "global _getattr_",
    "def f():\n    nonlocal _getattr_",
    "class _getattr_: pass",
    "class A:\n    _write_ = 1",
    "class A:\n    def __getattr__(self, name): pass",
    "class A:\n    def __getattribute__(self, name): pass",
    "class A:\n    def __setattr__(self, name, value): pass",
    "class A:\n    def __new__(cls): pass",
    "class A:\n    def __init_subclass__(cls): pass",
    "class A:\n    def __del__(self): pass",
    "class A:\n    def __reduce__(self): pass",
    "class A:\n    __slots__ = ()",
    "def __init__(): pass",
]


@pytest.mark.parametrize("source", HIDDEN_NAMES)
def test_a_hidden_name_is_refused_wherever_it_stands(source: str) -> None:
    found = refusal(source)
    assert "starts with" in found.reason or "restricted name" in found.reason


def test_all_refusals_are_listed_by_line() -> None:
    source = "x._a\nasync def f(): pass\nx._a; y.__b__"
    assert [(row.line, row.construct) for row in restricted.refusals(source, FILE)] == [
        (1, "Attribute"), (2, "AsyncFunctionDef"), (3, "Attribute"), (3, "Attribute"),
    ]  # fmt: skip


def test_the_first_refusal_may_be_in_the_echo() -> None:
    assert refusal("x = 1\nx._y").line == 2


# ---- what is refused while it runs ---------------------------------------------------------------

ESCAPES = {
    "format walks attributes": "'{0.__class__}'.format(1)",
    "format walks in a width": "'{:{0.real}}'.format(1)",
    "format_map walks attributes": "'{x.real}'.format_map({'x': 1})",
    "format of the class": "str.format('{.__class__}', 1)",
    "format behind an index": "'{[0].__class__}'.format([1])",
    "format found dynamically": "getattr('{0.__class__}', 'format')(1)",
    "format of a subclass": "class S(str): pass\nS('{0.__class__}').format(1)",
    "a string that shows another one": (
        "class S(str):\n    def __str__(self): return 'x'\nS('{0.__class__}').format(1)"
    ),
    "format through super": (
        "class S(str):\n    def run(self): return super().format(1)\nS('{0.__class__}').run()"
    ),
    "format through methodcaller": (
        "from operator import methodcaller\nmethodcaller('format', 1)('{0.__class__}')"
    ),
    "attrgetter of hidden names": (
        "import operator\noperator.attrgetter('__class__.__base__')(1)"
    ),
    "getattr of hidden names": "getattr(1, '__class_' + '_').mro; getattr([], '__len__')",
    "getattr with a trick name": (
        "class N(str):\n    def startswith(self, x): return False\ngetattr(1, N('__dir__'))"
    ),
    "setattr of hidden names": "setattr(lambda: 0, '__code__', 1)",
    "delattr of hidden names": "delattr(lambda: 0, '__doc__')",
    "generator frames by name": "getattr((i for i in ()), 'gi_frame')",
    "generator code by name": "getattr((i for i in ()), 'gi_code')",
    "the object of an AttributeError": (
        "try:\n    [].nothing\nexcept AttributeError as error:\n    x = error.obj"
    ),
    "three-argument type": "type('X', (), {})",
    "a metaclass from a library": "import abc\nabc.ABCMeta('X', (), {})",
    "a metaclass imported": "from enum import EnumMeta\nEnumMeta",
    "string.Formatter": "import string\nstring.Formatter().format('{0.__class__}', 1)",
    "string.Formatter imported": "from string import Formatter\nFormatter",
    "annotations that are text": "import typing\ntyping.get_type_hints(int)",
    "classes made by name": "from dataclasses import make_dataclass\nmake_dataclass('A', [])",
    "vars": "vars()",
    "globals": "globals()",
    "eval by another name": "e = eval\ne('1')",
    "compile": "compile('1', '', 'eval')",
    "sys.modules": "import sys\nsys.modules",
    "writing a module": "import math\nmath.pi = 3",
    "writing a class of a library": "import json\njson.JSONDecoder.decode = None",
    "writing a builtin class": "int.real = 1",
    "writing a function of a library": "import json\njson.dumps.x = 1",
    "writing with setattr": "import math\nsetattr(math, 'pi', 3)",
    "writing through wraps": (
        "import functools, json\nfunctools.wraps(lambda: 0)(json.dumps)"
    ),
    "copying hidden attributes": (
        "import functools\nfunctools.update_wrapper(lambda: 0, print, assigned=('__self__',))"
    ),
    "a module that loads others": "import importlib",
    "a module through another": "import dataclasses\ndataclasses.inspect",
    "a module imported from another": "from dataclasses import inspect",
    "frames": "import inspect",
    "pickles": "import pickle",
}  # fmt: skip


@pytest.mark.parametrize("source", ESCAPES.values(), ids=ESCAPES.keys())
def test_a_way_out_of_the_language_raises(source: str) -> None:
    with pytest.raises((AttributeError, TypeError, ImportError, NameError)) as caught:
        run_guarded(source)
    message = str(caught.value)
    assert (
        "restricted level" in message
        or "unexpected keyword argument 'assigned'" in message
        or "must be string, not 'N'" in message
    )


def test_a_module_that_the_level_holds_back_is_refused_by_name_and_with_an_alternative() -> None:
    with pytest.raises(ImportError) as caught:
        run_guarded("import pickle")
    assert caught.value.name == "pickle"
    assert str(caught.value) == (
        "import of 'pickle' is refused by rule 'restricted level: pickle -> refuse': "
        "it calls functions that the data names. Allowed instead: json."
    )


def test_every_refused_object_still_is_what_its_library_hands_out() -> None:
    found = guards.Guards(frozenset(), {})
    for gadget in guards.REFUSED:
        with pytest.raises(AttributeError, match="restricted level"):
            found.read(SimpleNamespace(thing=gadget.value), "thing")
