# uses: get_type_hints, protocols, annotations in __main__
# out: {'a': <class 'int'>, 'return': list[str]} True
import typing


class Closes(typing.Protocol):
    def close(self) -> None: ...


def function(a: "int") -> "list[str]": ...


print(typing.get_type_hints(function), issubclass(typing.IO, object))
