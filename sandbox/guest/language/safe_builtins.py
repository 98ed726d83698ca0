"""What stands for builtins and library functions at the restricted level.

Each does what its original does, short of handing out what the guards hold back.
"""

import functools
import re
import string
import types
import typing
from collections.abc import Callable, Iterator, Mapping
from types import FunctionType, ModuleType

from sandbox.guest.language.code_origin import SNIPPET_FILE

_INDEX = re.compile(r"\[[^\]]*\]")


def written(item: object) -> object:
    """`_write_`: `item`, if it is the snippet's to change.

    Modules, classes and functions that others use are not.
    """
    kind = type(item)
    if issubclass(kind, ModuleType):
        what = "a module"
    elif issubclass(kind, type) and typing.cast(type, item).__module__ != "__main__":
        what = "a class that the snippet did not define"
    elif kind is FunctionType and not _is_of_snippet(typing.cast(FunctionType, item)):
        what = "a function that the snippet did not define"
    else:
        return item
    raise TypeError(f"{what} is not to be changed at the restricted level")


def _is_of_snippet(function: FunctionType) -> bool:
    return function.__code__.co_filename.startswith(SNIPPET_FILE)


def public_names(*items: object) -> list[str]:
    """`dir` of one object, without the names that cannot be read."""
    if len(items) != 1:
        raise TypeError("dir() takes exactly one argument at the restricted level")
    return [name for name in dir(items[0]) if not name.startswith("_")]


class _TypeOfTypes(type):
    def __call__(cls, *args: object) -> object:
        if len(args) != 1:
            raise TypeError("type() takes one argument at the restricted level; write a class")
        kind = type(args[0])
        return guarded_type if issubclass(kind, type) else kind

    def __instancecheck__(cls, item: object) -> bool:
        return isinstance(item, type)


class guarded_type(metaclass=_TypeOfTypes):
    """`type` that tells the class of an object and makes none."""

    def __class_getitem__(cls, item: object) -> types.GenericAlias:
        return types.GenericAlias(type, item)


def format_text(text: str, /, *args: object, **kwargs: object) -> str:
    """`str.format` with fields that read no attributes."""
    return str.format(_without_attributes(text), *args, **kwargs)


def format_text_map(text: str, mapping: Mapping[str, object], /) -> str:
    """`str.format_map` with fields that read no attributes."""
    return str.format_map(_without_attributes(text), mapping)


def _without_attributes(text: str) -> str:
    # The exact text: a subclass could show another one to the check than to the call.
    text = str.__str__(text)
    for field in _fields(text):
        if "." in _INDEX.sub("", field):
            raise AttributeError(
                f"format field {field!r} reads an attribute; at the restricted level, "
                "use an f-string or pass the value"
            )
    return text


def _fields(text: str) -> Iterator[str]:
    for _, field, spec, _ in string.Formatter().parse(text):
        if field is not None:
            yield field
        if spec:
            yield from _fields(spec)


def update_wrapper(
    wrapper: Callable[..., object], wrapped: Callable[..., object]
) -> Callable[..., object]:
    """`functools.update_wrapper` for the attributes that it copies by default."""
    return functools.update_wrapper(typing.cast(FunctionType, written(wrapper)), wrapped)


def wraps(wrapped: Callable[..., object]) -> Callable[[Callable[..., object]], object]:
    """`functools.wraps` for the attributes that it copies by default."""
    return lambda wrapper: update_wrapper(wrapper, wrapped)
