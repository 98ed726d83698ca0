"""Each refusal of the restricted level says what to write instead, and that runs at the level."""

import sys

import pytest

from sandbox.guest.language import guards, rewrites
from sandbox.guest.language.check import check
from tests.unit.guarded import refusal, run_guarded

# ---- each row of the table is what a refusal says ------------------------------------------------

SYNTAX = {
    "AsyncFunctionDef": "async def f(): pass",
    "Await": "await x",
    "AsyncFor": "async for x in y: pass",
    "AsyncWith": "async with x: pass",
    "Match": "match 1:\n    case 1: pass",
    "TryStar": "try: pass\nexcept* ValueError: pass",
    "TypeAlias": "type Number = int | float",
    "TypeVar": "def f[T](x: T): pass",
    "ParamSpec": "def f[**P](x: P): pass",
    "TypeVarTuple": "def f[*T](x: T): pass",
    "Import": "lazy import os",
    "ImportFrom": "from os import *",
    "ListComp": "[*x for x in [[1]]]",
    "SetComp": "{*x for x in [[1]]}",
    "DictComp": "{**x for x in [{}]}",
    "GeneratorExp": "list(*x for x in [[1]])",
    "ClassDef": "class A(metaclass=int): pass",
}
SINCE = {
    **dict.fromkeys(("TypeAlias", "TypeVar", "ParamSpec", "TypeVarTuple"), (3, 12)),
    **dict.fromkeys(("Import", "ListComp", "SetComp", "DictComp", "GeneratorExp"), (3, 15)),
}


def test_each_syntax_of_the_table_has_a_source_here():
    assert set(SYNTAX) == set(rewrites.CONSTRUCTS)


@pytest.mark.parametrize(
    "construct", [name for name in SYNTAX if sys.version_info >= SINCE.get(name, (3, 11))]
)
def test_a_refused_syntax_says_what_to_write_instead(construct):
    found = refusal(SYNTAX[construct])
    assert found.construct == construct
    assert found.reason.endswith(f". Write instead: {rewrites.CONSTRUCTS[construct]}.")


@pytest.mark.parametrize("name", rewrites.ATTRIBUTES)
def test_a_refused_attribute_says_what_to_write_instead(name):
    sources = [f"x.{name} = 1", *([f"x.{name}"] if name not in guards.READABLE else [])]
    for source in sources:
        found = refusal(source)
        assert found.reason.endswith(f". Write instead: {rewrites.ATTRIBUTES[name]}.")


@pytest.mark.parametrize("name", rewrites.NAMES)
def test_a_refused_name_says_what_to_write_instead(name):
    for source in (f"{name} = 1", f"class A:\n    def {name}(self): pass", f"def f({name}): pass"):
        found = refusal(source)
        assert found.reason.endswith(f". Write instead: {rewrites.NAMES[name]}.")


@pytest.mark.parametrize(
    ("source", "instead"),
    [
        ("_x = 1", rewrites.PLAIN_NAME),
        ("import os as _x", rewrites.PLAIN_NAME),
        ("global _x", rewrites.PLAIN_NAME),
        ("class A:\n    def __odd__(self): pass", rewrites.PLAIN_NAME),
        ("from os import _exit", rewrites.NAMES["_exit"]),
        ("x__roles__ = 1", rewrites.ANOTHER_NAME),
        ("x.y__roles__", rewrites.ANOTHER_NAME),
        ("x._y", rewrites.PUBLIC_ATTRIBUTE),
        ("x.tb_frame", rewrites.FRAMES),
        ("x.gi_code", rewrites.FRAMES),
    ],
)
def test_a_name_without_a_row_of_its_own_says_it_too(source, instead):
    assert refusal(source).reason.endswith(f". Write instead: {instead}.")


def test_a_syntax_that_no_row_knows_says_it_too():
    assert rewrites.for_construct("Odd") == rewrites.OLDER_SYNTAX


@pytest.mark.parametrize("name", rewrites.CALLS)
def test_a_refused_call_says_what_to_write_instead(name):
    instead = f". Write instead: {rewrites.CALLS[name]}."
    if name in ("eval", "exec"):
        assert refusal(f"{name}('1')").reason.endswith(instead)
    with pytest.raises(NameError) as caught:
        run_guarded(f"f = {name}\nf('1')")
    assert str(caught.value).endswith(instead)


GADGETS = [
    "import sys\nsys.modules",
    "import string\nstring.Formatter",
    "import typing\ntyping.get_type_hints",
    "import dataclasses\ndataclasses.make_dataclass",
    "import types\ntypes.new_class",
    "import types\ntypes.CodeType",
    "import abc\nabc.ABCMeta",
]


@pytest.mark.parametrize("source", GADGETS)
def test_what_is_refused_while_it_runs_says_what_to_write_instead(source):
    with pytest.raises(AttributeError, match=r"restricted level: it .*\. Write instead: .*\.$"):
        run_guarded(source)


@pytest.mark.parametrize("name", ["__dict__", "_x", "f_back"])
def test_an_attribute_by_a_computed_name_says_it_too(name):
    for source in (f"getattr(1, '{name}')", f"setattr(1, '{name}', 1)"):
        with pytest.raises(AttributeError) as caught:
            run_guarded(source)
        assert str(caught.value).endswith(f". Write instead: {rewrites.for_attribute(name)}.")


def test_a_check_says_what_to_write_instead():
    [[line, construct, reason]] = check("x = 1\nx.__dict__", [], "allow", "restricted").refusals
    assert (line, construct) == (2, "Attribute")
    assert str(reason).endswith(". Write instead: dataclasses.asdict, or the attributes by name.")


# ---- what is to be written runs at the level -----------------------------------------------------

CLASS = "class A:\n    def __init__(self): self.x = 1\n"
DATA = "from dataclasses import asdict, dataclass, fields\n@dataclass\nclass P:\n    x: int\n"
ERROR = "import traceback\ntry: 1 / 0\nexcept (ValueError, ZeroDivisionError):\n    "
VALUES = {
    "async": "from concurrent.futures import ThreadPoolExecutor\n"
    "def f(x): return x + 1\nwith ThreadPoolExecutor(2) as pool: found = list(pool.map(f, [1]))\n"
    "found == [2]",
    "if and elif": "x = 1\nif x == 2: y = 0\nelif isinstance(x, int): y = 1\ny == 1",
    "except with a tuple": ERROR + "found = 1\nfound == 1",
    "an alias": "Number = int | float\nisinstance(1, Number)",
    "a type variable": "from typing import TypeVar\nT = TypeVar('T')\ndef f(x: T) -> T: return x\n"
    "f(1) == 1",
    "plain imports": "import math\nfrom math import pi\npi == math.pi",
    "a second for": "[y for x in [[1], [2]] for y in x] == [1, 2]",
    "a decorator": "def named(c):\n    c.label = 'a'\n    return c\n@named\nclass A: pass\n"
    "class B(A): pass\nB.label == 'a'",
    "data in a text": "import ast, json\nast.literal_eval('[1]') == json.loads('[1]')",
    "asdict": DATA + "asdict(P(1)) == {'x': 1}",
    "fields": DATA + "[one.name for one in fields(P)] == ['x']",
    "isinstance": CLASS + "isinstance(A(), A) and issubclass(A, A)",
    "items": "x = {'a': 1}\nx['b'] = 2\n'a' in x and len(x) == 2 and next(iter(x)) == 'a'",
    "texts": "str(1) + repr(2) + f'{3}' == '123' and hash(1) == hash(1)",
    "with": CLASS + "    def __enter__(self): return self\n    def __exit__(self, *a): self.x = 2\n"
    "with A() as a: pass\na.x == 2",
    "public attributes": CLASS + "a = A()\nsetattr(a, 'x', 2)\ngetattr(a, 'x') == 2",
    "the base's": CLASS + "class B(A):\n    def __init__(self): super().__init__()\nB().x == 1",
    "text of an error": ERROR + "found = traceback.format_exc()\n'ZeroDivisionError' in found",
    "dir": CLASS + "dir(A()) == ['x']",
    "slots": "from dataclasses import dataclass\n@dataclass(slots=True)\nclass P:\n    x: int\n"
    "P(1).x == 1",
    "a property": "class A:\n    n = 0\n    @property\n    def x(self): return self.n\n"
    "    @x.setter\n    def x(self, value): self.n = value\na = A()\na.x = 3\na.x == 3",
    "a dict there and back": "class A:\n    def __init__(self, x): self.x = x\n"
    "    def state(self): return {'x': self.x}\ndef made(state): return A(**state)\n"
    "made(A(2).state()).x == 2",
    "iteration": "class A:\n    def __iter__(self): return iter([1])\nlist(A()) == [1]",
    "exit": "import sys\ntry: sys.exit(3)\nexcept SystemExit as error: found = error.code\n"
    "found == 3",
    "print": "show = print\ncallable(show)",
    "a format": "'{} {a}'.format(1, a=2) == '1 2'",
}


@pytest.mark.parametrize("source", VALUES.values(), ids=VALUES.keys())
def test_what_is_to_be_written_runs_at_the_level(source):
    assert run_guarded(source) is True
