"""Free paths: where a file goes whose name another file in its container has already."""

import posixpath
from collections.abc import Container
from itertools import count

NAME_BYTES = 255
"""Of one name on the file systems of Linux: path_resolution(7)."""


def free_path(path: str, taken: Container[str]) -> str:
    """`path`, or the first of `data (1).csv`, `data (2).csv`... that is not in `taken`."""
    if path not in taken:
        return path
    folder, name = posixpath.split(path)
    stem, kind = posixpath.splitext(name)
    for number in count(1):
        end = f" ({number}){kind}"
        room = NAME_BYTES - len(end.encode())
        other = stem.encode()[:room].decode(errors="ignore") + end
        if (found := posixpath.join(folder, other)) not in taken:
            return found
    raise AssertionError("numbers do not end")
