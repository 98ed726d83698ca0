"""Keeps a conversation in a file, and the files of its workspace in a folder beside it."""

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Final, NamedTuple

from runner.commands.talking.conversation import Conversation
from runner.errors import RequestError
from runner.terminal import one_line
from runner.transcript import Transcript, transcript_from_json, transcript_to_json
from sandbox import FileRefused, SandboxError

FILES_CAP: Final = 200
BYTES_CAP: Final = 100 * 1024 * 1024
"""Of all files of a conversation together; what is over it is named, to the user and the model."""
NOT_KEPT: Final = "NOT-KEPT"
SUFFIX: Final = ".files"


class Kept(NamedTuple):
    """An earlier conversation, its files, and the names of files that were not kept."""

    entries: Transcript
    files: Mapping[str, bytes]
    not_kept: str = ""


class KeptTalk:
    """The file `path` and the folder `path.files`; None keeps nothing."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._folder = None if path is None else path.with_name(f"{path.name}{SUFFIX}")

    def read(self) -> Kept:
        """Read what an earlier command wrote. Raises RequestError."""
        if self._path is None or self._folder is None or not self._path.exists():
            return Kept((), {})
        try:
            entries = transcript_from_json(self._path.read_bytes())
        except ValueError as error:
            message = f"{self._path.name} holds no conversation that this command wrote."
            raise RequestError("invalid", message) from error
        files = {}
        for path in sorted(self._folder.rglob("*")):
            if path.is_file() and not path.is_symlink() and path != self._folder / NOT_KEPT:
                files[path.relative_to(self._folder).as_posix()] = path.read_bytes()
        marked = self._folder / NOT_KEPT
        return Kept(entries, files, marked.read_text("utf-8") if marked.exists() else "")

    async def write(self, talk: Conversation) -> str:
        """Write all of `talk`, or leave what was there; names of files that were not kept."""
        if self._path is None or self._folder is None:
            return ""
        fresh = self._path.with_name(f"{self._path.name}.{os.getpid()}")
        fresh.write_text(f"{transcript_to_json(talk.entries)}\n", encoding="utf-8")
        os.replace(fresh, self._path)
        return await self._write_files(talk, self._folder)

    async def _write_files(self, talk: Conversation, folder: Path) -> str:
        names = await talk.files()
        if not names and not folder.exists():
            return ""
        fresh = folder.with_name(f"{folder.name}.{os.getpid()}")
        fresh.mkdir()
        try:
            left, dropped = BYTES_CAP, []
            for number, name in enumerate(names):
                data = await _content(talk, name) if number < FILES_CAP else None
                # A name of the guest's may be anything but a way out of the folder.
                place = fresh / name
                if data is None or len(data) > left or not place.is_relative_to(fresh):
                    dropped.append(name)
                    continue
                left -= len(data)
                try:
                    place.parent.mkdir(parents=True, exist_ok=True)
                    place.write_bytes(data)
                except OSError:
                    dropped.append(name)
            words = ", ".join(map(one_line, dropped[:20]))
            words += f" and {len(dropped) - 20} more" if len(dropped) > 20 else ""
            if words:
                (fresh / NOT_KEPT).write_text(words, encoding="utf-8")
            shutil.rmtree(folder, ignore_errors=True)
            os.replace(fresh, folder)
        finally:
            shutil.rmtree(fresh, ignore_errors=True)
        return words


async def _content(talk: Conversation, name: str) -> bytes | None:
    if ".." in Path(name).parts or name.startswith("/") or name == NOT_KEPT:
        return None
    try:
        return await talk.get(name)
    except (FileRefused, SandboxError):
        return None
