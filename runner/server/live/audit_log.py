"""Audit log: which key ran which code, one JSON object a line, each bound to the line before.

The file is only ever appended to. A line holds the SHA-256 of the code and never a key; the code
itself only where the owner asks for it. `hash` is over the line without it, `previous` is the
`hash` of the line before: a line that is changed, taken out or put in breaks the chain.
"""

import fcntl
import hashlib
import json
import os
from datetime import UTC, datetime
from pathlib import Path

from runner.errors import ConfigError
from runner.server.http import logs
from runner.transcript import encodable

TAIL_BYTES = 256 * 1024
CODE_CHARS = 20_000
NAME_CHARS = 200
FIRST = ""
"""`previous` of the first line."""


class AuditLog:
    """The file `path`, held by one server. Raises ConfigError."""

    def __init__(self, path: Path, *, with_code: bool = False) -> None:
        self._with_code = with_code
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
            self._fd = os.open(path, flags, 0o600)
        except OSError as error:
            raise _unusable(path, error.strerror or "cannot be opened") from error
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._previous = self._last_hash(path)
        except BlockingIOError as error:
            os.close(self._fd)
            raise _unusable(path, "is in use by another server") from error
        except BaseException:
            os.close(self._fd)
            raise

    def ran(self, *, owner: str, via: str, where: str, code: str, status: str) -> None:
        """Write that `owner` had `code` run. Raises OSError."""
        data = code.encode("utf-8", "surrogatepass")
        facts: dict[str, object] = {
            "sha256": hashlib.sha256(data).hexdigest(),
            "bytes": len(data),
            "status": status,
        }
        if self._with_code:
            facts["code"] = encodable(code)[:CODE_CHARS]
        self._append("run", owner=owner, via=via, where=where, **facts)

    def acted(self, event: str, *, owner: str, where: str) -> None:
        """Write what an operator did to a session. Raises OSError."""
        self._append(event, owner=owner, where=where)

    def close(self) -> None:
        os.close(self._fd)

    def _append(self, event: str, *, owner: str, where: str, **facts: object) -> None:
        line: dict[str, object] = {
            "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "event": event,
            "id": logs.REQUEST_ID.get(),
            "owner": owner[:NAME_CHARS],
            "where": where[:NAME_CHARS],
            **facts,
            "previous": self._previous,
        }
        line["hash"] = hash_of(line)
        data = json.dumps(line).encode() + b"\n"
        size = os.fstat(self._fd).st_size
        if os.write(self._fd, data) != len(data):
            # A full disk: half a line would end the chain.
            os.ftruncate(self._fd, size)
            raise OSError("the disk is full")
        self._previous = str(line["hash"])

    def _last_hash(self, path: Path) -> str:
        size = os.fstat(self._fd).st_size
        tail = os.pread(self._fd, TAIL_BYTES, max(0, size - TAIL_BYTES))
        if not tail:
            return FIRST
        try:
            if not tail.endswith(b"\n"):
                raise ValueError
            return str(json.loads(tail.rstrip(b"\n").rpartition(b"\n")[2])["hash"])
        except (ValueError, KeyError, TypeError) as error:
            raise _unusable(path, "does not end in a whole line of an audit log") from error


def hash_of(line: dict[str, object]) -> str:
    """What `hash` of a line has to be."""
    rest = {name: value for name, value in line.items() if name != "hash"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


def first_broken(path: Path) -> tuple[int, int]:
    """How many lines the log has, and the first that breaks the chain: 0 where none does.

    Raises OSError.
    """
    previous, number, broken = FIRST, 0, 0
    with path.open("rb") as file:
        for number, data in enumerate(file, 1):
            try:
                line = json.loads(data)
                is_next = line["previous"] == previous and line["hash"] == hash_of(line)
                # Of a key that is there twice a reader may see the one that no hash is of.
                is_next = is_next and data == json.dumps(line).encode() + b"\n"
            except (ValueError, KeyError, TypeError):
                is_next = False
            if not is_next:
                broken = broken or number
                break
            previous = line["hash"]
        else:
            return number, 0
        number += sum(1 for _ in file)
    return number, broken


def _unusable(path: Path, problem: str) -> ConfigError:
    return ConfigError("audit.file", f"{path} {problem}", "Move it away, or name another file")
