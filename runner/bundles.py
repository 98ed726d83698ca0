"""Display bundles as notebooks have them: JSON kinds as values, all else as text."""

import json
from collections.abc import Mapping

JSON_TYPES = ("application/json", "application/geo+json")
PARSED_CHARS = 4 * 1024 * 1024
"""Longer JSON stays text: reading it would keep other sessions waiting for over 50 ms."""


def notebook_bundle(bundle: Mapping[str, str]) -> dict[str, object]:
    """Return `bundle` with the values of its JSON kinds read.

    A guest may write anything there: what is no JSON, nests too deeply to be read or is too long
    stays the text that it is.
    """
    return {
        kind: json_value(text) if kind in JSON_TYPES or kind.endswith("+json") else text
        for kind, text in bundle.items()
    }


def json_value(text: str) -> object:
    """Return what `text` says in JSON, or `text` itself: see `notebook_bundle`."""
    if len(text) > PARSED_CHARS:
        return text
    try:
        value: object = json.loads(text, parse_constant=_no_constant)
        json.dumps(value, ensure_ascii=False).encode()  # No half of a surrogate pair.
    except (ValueError, RecursionError):
        return text
    return value


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")
