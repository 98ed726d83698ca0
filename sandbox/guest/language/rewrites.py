"""What to write in place of what the restricted level refuses: a table of constructs.

A refusal without a way on is tried again in another disguise. Each remedy here compiles and runs
at the level itself.
"""

from collections.abc import Mapping

_Rows = tuple[tuple[str, str], ...]


def _table(rows: _Rows) -> Mapping[str, str]:
    return {name: instead for names, instead in rows for name in names.split()}


CONSTRUCTS = _table(
    (
        (
            "AsyncFunctionDef Await AsyncFor AsyncWith",
            "a plain function and a call that waits; concurrent.futures, for several at once",
        ),
        ("Match", "if and elif, with == and isinstance"),
        ("TryStar", "except, with the types in a tuple"),
        ("TypeAlias", "a plain assignment, as in Number = int | float"),
        ("TypeVar ParamSpec TypeVarTuple", "typing.TypeVar, before the function or class"),
        ("Import ImportFrom", "a plain import of the module, or of the names that are used"),
        ("ListComp SetComp DictComp GeneratorExp", "a second for in the comprehension"),
        ("ClassDef", "a decorator of the class, or a base class"),
    )
)
"""By the type of the syntax tree's node."""

CALLS = _table(
    (
        ("eval", "the expression itself; ast.literal_eval or json.loads, for data in a text"),
        ("exec compile", "the statements themselves, in a function"),
        ("globals locals", "a dict of your own"),
        ("vars", "dataclasses.asdict, or the attributes by name"),
    )
)
"""By the function's name."""

ATTRIBUTES = _table(
    (
        ("__dict__", "dataclasses.asdict, or the attributes by name"),
        ("__class__", "isinstance, to ask; a new object, to have another class"),
        ("__base__ __bases__ __mro__ __subclasses__", "isinstance or issubclass"),
        (
            "__globals__ __builtins__ __code__ __closure__ __defaults__ __kwdefaults__",
            "arguments of the function, or a class that keeps the values",
        ),
        ("__self__ __func__ __wrapped__", "the object itself, kept under a name of its own"),
        ("__annotations__", "dataclasses.fields"),
        ("__getitem__ __setitem__ __delitem__ __missing__", "x[key]"),
        ("__contains__", "key in x"),
        ("__enter__ __exit__", "a with statement"),
        ("__iter__ __next__", "a for loop, or next(x)"),
        ("__len__ __length_hint__", "len(x)"),
        ("__str__ __repr__ __format__", "str(x), repr(x) or an f-string"),
        ("__call__", "x()"),
        ("__eq__ __ne__ __lt__ __le__ __gt__ __ge__ __hash__", "the operator, or hash(x)"),
        (
            "__getattr__ __getattribute__ __setattr__ __delattr__",
            "getattr, setattr or delattr with a name that does not begin with _",
        ),
        ("__init__ __new__", "a call of the class, or super().__init__"),
        ("__import__", "an import statement"),
        ("__traceback__ __cause__ __context__", "traceback.format_exc(), for the text of an error"),
        ("__file__ __path__ __spec__ __loader__", "a path that is written out"),
        ("__all__ __dir__", "dir(x)"),
        ("_exit", "sys.exit()"),
    )
)
"""By the attribute's name, read or written."""

NAMES = _table(
    (
        ("__import__", "an import statement"),
        ("__builtins__ builtins", "the function itself, by its name"),
        ("__file__", "a path that is written out"),
        ("__all__ __match_args__", "nothing: it can be left out"),
        ("__slots__", "@dataclass(slots=True), or nothing"),
        ("__getattr__ __getattribute__", "a method that is called by its name, or a dict"),
        ("__setattr__ __delattr__", "a property with a setter, or a method"),
        ("__get__ __set__ __delete__ __set_name__", "a property"),
        ("__new__", "__init__, or a function that makes the object"),
        (
            "__init_subclass__ __class_getitem__ __subclasshook__ __instancecheck__"
            " __subclasscheck__ __prepare__ __mro_entries__ __metaclass__",
            "a decorator of the class, or a base class",
        ),
        ("__del__", "__enter__ and __exit__, and a with statement"),
        (
            "__reduce__ __reduce_ex__ __getstate__ __setstate__ __getnewargs__ __copy__"
            " __deepcopy__",
            "a method that gives a dict, and a function that takes one",
        ),
        ("__aenter__ __aexit__", "__enter__ and __exit__"),
        ("__aiter__ __anext__ __await__", "__iter__ and __next__"),
        ("breakpoint", "print, of the values to look at"),
        ("print", "another name; print can be called and passed on"),
        ("_exit", "sys.exit()"),
    )
)
"""By the name of a variable, function, class, method, argument or import."""

FRAMES = "traceback.format_exc(), for the text of an error"
PUBLIC_ATTRIBUTE = "an attribute or method whose name does not begin with _"
PLAIN_NAME = "a name that does not begin with _"
ANOTHER_NAME = "another name"
OLDER_SYNTAX = "the same with statements that this level knows"


def for_name(name: str) -> str:
    """Return what to write in place of a variable, function, class or import of this name."""
    return NAMES.get(name) or (PLAIN_NAME if name.startswith("_") else ANOTHER_NAME)


def for_attribute(name: str) -> str:
    """Return what to write in place of an attribute of this name."""
    if name in ATTRIBUTES:
        return ATTRIBUTES[name]
    if name.startswith("_"):
        return PUBLIC_ATTRIBUTE
    return ANOTHER_NAME if name.endswith("__roles__") else FRAMES


def for_construct(construct: str) -> str:
    """Return what to write in place of a syntax, by the type of its node."""
    return CONSTRUCTS.get(construct, OLDER_SYNTAX)


def with_remedy(reason: str, instead: str) -> str:
    """Return `reason` and what to write instead, as one text."""
    return f"{reason.rstrip('.')}. Write instead: {instead}."
