"""Byte code that the engine keeps for an environment whose packages have none beside them.

A jail cannot write byte code, so each fresh session would compile what it imports. The host has it
made (`boot/compile_ahead.py`) and shows it read-only, each file at the path that it would have
beside its source. As there, the interpreter takes it only for a source of the same time and size.
"""

from importlib.machinery import BYTECODE_SUFFIXES, SourceFileLoader
from typing import Any

SUFFIX = BYTECODE_SUFFIXES[0]


def offer(directory: str) -> None:
    """Let imports of this process and its forks find byte code below `directory` too."""
    loader: Any = SourceFileLoader
    beside = loader.get_data

    def get_data(self: SourceFileLoader, path: str) -> bytes:
        """The bytes of a file."""
        try:
            return bytes(beside(self, path))
        except FileNotFoundError:
            if not path.endswith(SUFFIX):
                raise
            return bytes(beside(self, directory + path))

    loader.get_data = get_data
