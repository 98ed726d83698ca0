"""Values that a candidate only names: words that are read, and of which nothing runs."""

import ast
from typing import Any

CALL_OF_F = ast.dump(ast.Name("f", ast.Load()))


class NoLiteral(Exception):
    """A candidate's words are more than the value that was asked for."""


def literal(text: str) -> Any:
    """The value that the words of a candidate are. Raises NoLiteral."""
    try:
        return ast.literal_eval(text)
    except (SyntaxError, ValueError, TypeError, RecursionError, MemoryError) as error:
        raise NoLiteral(f"the prediction is no literal: {type(error).__name__}") from None


def literal_arguments(text: str) -> tuple[list[Any], dict[str, Any]]:
    """The arguments of a call of `f`, with or without its name around them. Raises NoLiteral."""
    try:
        call = ast.parse(text if text.startswith("f(") else f"f({text})", mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise NoLiteral(f"the prediction is no call: {type(error).__name__}") from None
    if not isinstance(call, ast.Call) or ast.dump(call.func) != CALL_OF_F:
        raise NoLiteral("the prediction is no call of f")
    try:
        return (
            [ast.literal_eval(one) for one in call.args],
            {str(word.arg): ast.literal_eval(word.value) for word in call.keywords},
        )
    except (ValueError, TypeError, RecursionError) as error:
        raise NoLiteral(f"an argument is no literal: {type(error).__name__}") from None
