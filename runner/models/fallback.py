"""The model that answers where none is configured: whether it is here, and what users are told.

Apart from the model itself, for that takes the client library, which is slow to load.
"""

import importlib.util
from collections.abc import Mapping
from pathlib import Path

from runner.config import ANY, ModelSettings
from runner.errors import ConfigError
from runner.extras import install_command
from runner.models.weights import QWEN_CODER, Shelf

LIMITS = (
    "It is small and runs on this machine's processors: good for a first try and for tests. About"
    " one answer in three is wrong, often with confidence, so check what matters. For work, name a"
    " larger model in CELLBLOCK_MODEL_URL or in the config."
)


def can_run() -> bool:
    """Whether the library that serves local models is installed."""
    return importlib.util.find_spec("xllamacpp") is not None


def installed(field: str) -> Path:
    """The weights, ready to be served. Raises ConfigError; `field` is the setting at fault."""
    shelf = Shelf()
    if not can_run():
        problem = "what runs the embedded model is not installed"
        raise ConfigError(field, problem, f"Run: {install_command('embedded')}")
    if not shelf.has(QWEN_CODER):
        problem = "the embedded model is not installed"
        raise ConfigError(field, problem, "Run: cellblock model install")
    return shelf.path(QWEN_CODER)


def or_embedded(configured: Mapping[str, ModelSettings]) -> Mapping[str, ModelSettings]:
    """`configured`, or if that names no model the embedded one for every name, where installed."""
    if configured or not (can_run() and Shelf().has(QWEN_CODER)):
        return configured
    settings = ModelSettings(kind="embedded")
    return {QWEN_CODER.name: settings, ANY: settings}


def first_words() -> str:
    """The model's limits, the first time that this user meets it; empty from then on."""
    mark = Shelf().directory / "limits-were-told"
    try:
        mark.touch(exist_ok=False)
    except FileExistsError:
        return ""
    return f"{QWEN_CODER.name} answers. {LIMITS}"
