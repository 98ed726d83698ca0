"""Functions whose work is done elsewhere: a call is passed on, and its answer comes back."""

import asyncio
import inspect
import json
import keyword
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from sandbox.errors import PolicyError
from sandbox.session.host_tools import CALLS_CAP, TIMEOUT_S, HostTool

PARAMETERS_CAP = 100
SPECS_CAP = 100
DOC_CHARS = 20_000
NAME_CHARS = 200
Relay = Callable[[list[Any], dict[str, Any]], Awaitable[Any]]
"""Gets the arguments as JSON has them; its result has to be JSON too."""
Row = tuple[str, int, bool, Any]
"""A parameter: name, kind as `inspect.Parameter` counts them, whether it has a default, which."""
ANY_ROWS: tuple[Row, ...] = (
    ("args", int(inspect.Parameter.VAR_POSITIONAL), False, None),
    ("kwargs", int(inspect.Parameter.VAR_KEYWORD), False, None),
)


class RelayedTool(HostTool):
    """A function that snippets may call, known by its description alone.

    Nothing is checked against hints here: whatever answers the calls has those.
    """

    def __init__(
        self,
        name: str,
        relay: Relay,
        *,
        doc: str = "",
        parameters: Sequence[Row] = ANY_ROWS,
        is_async: bool = False,
        timeout_s: float = TIMEOUT_S,
        max_calls: int = CALLS_CAP,
    ) -> None:
        """Raises PolicyError for what is no description of a function."""
        if not name.isidentifier() or keyword.iskeyword(name) or len(name) > NAME_CHARS:
            raise PolicyError("tools", f"{name[:NAME_CHARS]!r} is no name of a function")
        signature = _signature(name, parameters)

        async def function(*args: Any, **kwargs: Any) -> Any:
            return await relay(list(args), kwargs)

        function.__name__ = function.__qualname__ = name
        function.__doc__ = doc[:DOC_CHARS]
        function.__signature__ = signature  # type: ignore[attr-defined]
        super().__init__(function, timeout_s=timeout_s, max_calls=max_calls)
        # Frozen for users; these are of the same birth.
        object.__setattr__(self, "_relay", relay)
        object.__setattr__(self, "_is_async", is_async)

    def spec(self, name: str) -> dict[str, Any]:
        """What the guest makes its function of."""
        return {**super().spec(name), "is_async": vars(self)["_is_async"]}

    async def call(self, args: list[Any], kwargs: dict[str, Any]) -> Any:
        """The answer, as JSON has it. Raises what the relay raises."""
        relay: Relay = vars(self)["_relay"]
        async with asyncio.timeout(self.timeout_s):
            return await relay(args, kwargs)


def specs_of(text: str) -> list[dict[str, Any]]:
    """Descriptions of functions as they travel, from what `Tools` makes of them."""
    found: list[dict[str, Any]] = json.loads(text)
    return found


def _signature(name: str, rows: Sequence[Row]) -> inspect.Signature:
    if len(rows) > PARAMETERS_CAP:
        raise PolicyError("tools", f"{name} has over {PARAMETERS_CAP} parameters")
    try:
        return inspect.Signature(
            [
                inspect.Parameter(
                    parameter,
                    inspect._ParameterKind(kind),
                    default=default if has_default else inspect.Parameter.empty,
                )
                for parameter, kind, has_default, default in rows
            ]
        )
    except (ValueError, TypeError) as error:
        raise PolicyError("tools", f"{name} has no such signature: {error}") from None
