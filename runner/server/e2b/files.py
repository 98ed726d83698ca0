"""Files of a sandbox as E2B tells of them: places, entries, listings, moves."""

import posixpath
import stat
from collections.abc import Mapping
from datetime import UTC, datetime

from runner.errors import RequestError
from runner.server.e2b.contexts import HOME
from runner.server.e2b.forms import NotDone
from runner.transcript import encodable
from sandbox import AsyncSession, FileNotDirectory, FileNotThere, FileRefused, FileStat

PATH_CHARS = 4096
ENTRIES_MOST = 10_000
LINKS_MOST = 100
REAL_HOMES = ("/mnt/tmp/home", "/tmp/home")
"""What `/home/user` leads to."""
KINDS = {"file": stat.S_IFREG, "directory": stat.S_IFDIR, "link": stat.S_IFLNK, "other": 0}
TYPES = {"file": "FILE_TYPE_FILE", "directory": "FILE_TYPE_DIRECTORY", "link": "FILE_TYPE_SYMLINK"}
OWNER = "user"
MOVE_S = 30.0
NO_USER = (
    "There is no user {name!r} in a sandbox here: all of it belongs to its one user, 'user', and"
    " nothing runs as root."
)
METADATA_MOST = 1000
EARLIEST_S = datetime(1, 1, 1, tzinfo=UTC).timestamp()
LATEST_S = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC).timestamp()
Entry = dict[str, object]


class Told:
    """What is told of a sandbox's files beyond what a session says of them."""

    def __init__(self) -> None:
        self.home = HOME
        """Where `/home/user` is for the sandbox's programs; another place without namespaces."""
        self.metadata: dict[str, dict[str, str]] = {}
        """What was sent with files, by their paths."""

    def copy(self) -> "Told":
        """The same of a branch of the session."""
        copy = Told()
        copy.metadata = dict(self.metadata)
        return copy

    def inside(self, path: str) -> str:
        """A path as the sandbox's programs have it."""
        is_below = path == HOME or path.startswith(HOME + "/")
        return self.home + path[len(HOME) :] if is_below else path

    def outside(self, path: str) -> str:
        """A path of the sandbox's programs as clients have it."""
        for real in (self.home, *REAL_HOMES):
            if path == real or path.startswith(real + "/"):
                return HOME + path[len(real) :]
        return path

    def keep(self, path: str, metadata: dict[str, str]) -> None:
        """Keep what was sent with a file. Raises RequestError when there is too much of it."""
        if len(self.metadata) >= METADATA_MOST:
            message = f"Metadata of {METADATA_MOST} files is kept for a sandbox: remove some."
            raise RequestError("invalid", message)
        self.metadata[path] = metadata

    def forget(self, path: str) -> None:
        """Forget what was sent with a file, or with those below a directory."""
        for gone in self._below(path):
            del self.metadata[gone]

    def move(self, source: str, target: str) -> None:
        """Tell it of where files are now."""
        for path in self._below(source):
            self.metadata[target + path[len(source) :]] = self.metadata.pop(path)

    def _below(self, path: str) -> list[str]:
        return [one for one in self.metadata if one == path or one.startswith(f"{path}/")]


def check_user(name: str) -> None:
    """Refuse to act as another user. Raises NotDone."""
    if name not in ("", OWNER):
        raise NotDone(NO_USER.format(name=name[:100]))


def place_of(path: str) -> str:
    """An absolute path, from the home directory where it is not one. Raises RequestError."""
    if not path or "\0" in path or len(path) > PATH_CHARS:
        message = f"A path has from 1 to {PATH_CHARS} characters, and no NUL."
        raise RequestError("invalid", message, param="path")
    if path == "~" or path.startswith("~/"):
        path = HOME + path[1:]
    found = posixpath.normpath(posixpath.join(HOME, path))
    return found[1:] if found.startswith("//") else found


async def entry_at(session: AsyncSession, path: str, told: Told) -> Entry:
    """What is at an absolute path. Raises FileRefused."""
    found = await session.stat(path)
    targets = await _targets(session, [path], told) if found.kind == "link" else {}
    return await _entry(session, path, found, told, targets)


async def entries_below(session: AsyncSession, path: str, depth: int, told: Told) -> list[Entry]:
    """What is in a directory, and in those in it, `depth` deep. Raises FileRefused."""
    if (await session.stat(path)).kind == "file":
        raise FileNotDirectory(path, "it is no directory")
    found = await stats_below(session, path, depth)
    links = [place for place, one in found.items() if one.kind == "link"]
    targets = await _targets(session, links[:LINKS_MOST], told) if links else {}
    return [await _entry(session, place, one, told, targets) for place, one in found.items()]


async def stats_below(session: AsyncSession, path: str, depth: int) -> dict[str, FileStat]:
    """Each entry below a directory by its path, directories before what is in them."""
    found: dict[str, FileStat] = {}
    waiting = [(path, 0)]
    while waiting:
        directory, level = waiting.pop()
        try:
            inside = await session.list_directory(directory)
        except FileRefused:
            if directory == path:
                raise
            continue  # Removed since, or closed: it is told, and nothing of what is in it.
        for one in inside:
            found[posixpath.join(directory, posixpath.basename(one.path))] = one
            if len(found) > ENTRIES_MOST:
                message = f"There is more below {path!r} than {ENTRIES_MOST} entries."
                raise RequestError("too_large", message)
        if level + 1 < depth:
            below = [one for one in inside if one.kind == "directory"]
            waiting += [
                (posixpath.join(directory, posixpath.basename(one.path)), level + 1)
                for one in reversed(below)
            ]
    return dict(sorted(found.items(), key=lambda pair: pair[0].split("/")))


async def move(session: AsyncSession, source: str, target: str, told: Told) -> None:
    """Rename what is at `source`. Raises FileRefused, RequestError."""
    await session.stat(source)
    above = posixpath.dirname(target)
    if above not in ("/", "/home"):
        await session.mkdir(above)
    done = await session.exec(
        ["mv", "-fT", "--", told.inside(source), told.inside(target)], timeout_s=MOVE_S
    )
    if done.exit_code == 0:
        told.move(source, target)
    else:
        raise RequestError("invalid", f"Moving failed: {done.stderr.decode('utf-8', 'replace')}")


async def used_bytes(session: AsyncSession) -> int:
    """What the files of a session take, of which so many are looked at."""
    total = 0
    for root in ("/mnt/data", "/tmp"):
        found = await stats_below(session, root, 64)
        total += sum(one.size_bytes for one in found.values() if one.kind == "file")
    return total


async def _targets(session: AsyncSession, links: list[str], told: Told) -> dict[str, str]:
    """Where links lead; of what leads nowhere, nothing."""
    found: dict[str, str] = {}
    for link in links:
        done = await session.exec(["readlink", "-fn", "--", told.inside(link)], timeout_s=MOVE_S)
        if done.exit_code == 0 and done.stdout:
            found[link] = told.outside(done.stdout.decode("utf-8", "replace"))
    return found


async def _entry(
    session: AsyncSession,
    path: str,
    found: FileStat,
    told: Told,
    targets: Mapping[str, str],
) -> Entry:
    kind, size, mode = found.kind, found.size_bytes, found.mode
    more: Entry = {}
    if (target := targets.get(path)) is not None:
        more["symlinkTarget"] = target
        try:
            kind = (await session.stat(target)).kind
        except FileRefused:
            kind = "link"
    if path in told.metadata:
        more["metadata"] = dict(told.metadata[path])
    return {
        "name": encodable(posixpath.basename(path)),
        "type": TYPES.get(kind, "FILE_TYPE_UNSPECIFIED"),
        "path": encodable(path),
        "size": str(size),
        "mode": mode,
        "permissions": stat.filemode(KINDS[found.kind] | mode),
        "owner": OWNER,
        "group": OWNER,
        "modifiedTime": _time_of(found.modified_at),
        **more,
    }


def _time_of(seconds: float) -> str:
    """A time in ISO's form, which a program can set to one that has no year of four digits."""
    return datetime.fromtimestamp(min(max(seconds, EARLIEST_S), LATEST_S), UTC).isoformat()


async def exists(session: AsyncSession, path: str) -> bool:
    """Whether something is there. Raises FileRefused for what may not be looked at."""
    try:
        await session.stat(path)
    except FileNotThere:
        return False
    return True
