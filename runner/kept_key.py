"""Kept key: the key of a server whose owner named none, made once and kept for later starts."""

import contextlib
import os
import secrets
import stat
from pathlib import Path

from runner.errors import ConfigError

NAME = "key"
KEY_BYTES = 24
MOST_BYTES = 1024
OTHERS = stat.S_IRWXG | stat.S_IRWXO


def make_key() -> str:
    """A new key."""
    return f"sk-{secrets.token_urlsafe(KEY_BYTES)}"


def kept_key(folder: Path) -> tuple[str, bool]:
    """The key in `folder`, and whether it was made just now. Raises ConfigError."""
    with contextlib.suppress(FileNotFoundError):
        return _read(folder / NAME), False
    return new_key(folder), True


def new_key(folder: Path) -> str:
    """A new key in the place of the one in `folder`, readable by this user alone.

    Raises ConfigError.
    """
    key, fresh = make_key(), folder / f"{NAME}.{secrets.token_hex(4)}"
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        with open(fd, "w") as file:
            file.write(f"{key}\n")
        os.replace(fresh, folder / NAME)
    except OSError as error:
        raise ConfigError(
            "server.data_dir",
            f"no key can be kept in {folder}: {error.strerror}",
            "Name another folder, or set CELLBLOCK_API_KEY or [[keys]]",
        ) from error
    return key


def _read(path: Path) -> str:
    """The key in the file `path`. Raises ConfigError, FileNotFoundError."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise _unusable(path, error.strerror or "cannot be read") from error
    with open(fd, "rb") as file:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode) or status.st_uid != os.geteuid():
            raise _unusable(path, "is no file of this user")
        if status.st_mode & OTHERS:
            raise _unusable(path, "can be read or changed by others", f"chmod 600 {path}, or r")
        key = file.read(MOST_BYTES).decode("ascii", "replace").strip()
    if not key.isprintable() or len(key) < KEY_BYTES or " " in key:
        raise _unusable(path, "holds no key")
    return key


def _unusable(path: Path, problem: str, remedy: str = "R") -> ConfigError:
    return ConfigError("", f"{path} {problem}", f"{remedy}emove it, and a new key is made")
