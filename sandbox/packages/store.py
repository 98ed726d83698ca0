"""Where package environments are kept, and what is in them.

Each is a directory of the user's data directory with three things: `environment.json` says what it
is, `requirements.lock` holds every package with its hashes, `site-packages` is shown to sessions,
read-only. An environment never changes once it is in place.
"""

import os
import re
from typing import Annotated

from pydantic import BaseModel, ConfigDict, StringConstraints, ValidationError

from sandbox.errors import EnvironmentFailed, PolicyError
from sandbox.protocol.trees import remove_tree

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
INTERPRETER = re.compile(r"python[0-9.]*")
FACTS = "environment.json"
LOCK = "requirements.lock"
SITE = "site-packages"
FACTS_CAP_BYTES = 4 * 1024 * 1024
PRIVATE = 0o700
SHOWN = 0o755
"""Sessions may run under other ids; what is above is closed to them, and mounted by name."""

Text = Annotated[str, StringConstraints(max_length=1000)]


class PackageEnvironment(BaseModel):
    """Packages that were locked and laid out together, for one version of Python."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Text
    python: tuple[int, int]
    platform: Text
    requested: tuple[Text, ...]
    packages: dict[Text, Text]
    """Version by name."""
    size_bytes: int
    made_at: float

    @property
    def directory(self) -> str:
        """Where it is kept."""
        return os.path.join(environments_directory(), self.name)

    @property
    def site(self) -> str:
        """The directory that sessions import from."""
        return os.path.join(self.directory, SITE)

    @property
    def lock(self) -> str:
        """The file that holds every package with its hashes."""
        return os.path.join(self.directory, LOCK)


def environments_directory() -> str:
    """The user's own; it need not be there."""
    base = os.environ.get("XDG_DATA_HOME", "")
    if not os.path.isabs(base):  # As the XDG Base Directory Specification wants it.
        base = os.path.join(os.path.expanduser("~"), ".local", "share")
    return os.path.join(base, "cellblock", "environments")


def checked_name(name: str) -> str:
    """`name`, if an environment may be called so. Raises PolicyError."""
    if not NAME.fullmatch(name):
        raise PolicyError(
            "environment", f"is {name!r}", "Name it with letters, digits, dots, - and _"
        )
    if INTERPRETER.fullmatch(name):
        raise PolicyError(
            "environment", f"{name!r} is what an interpreter is called", "Choose another name"
        )
    return name


def find(name: str) -> PackageEnvironment | None:
    """The environment `name`; None if there is none. Raises EnvironmentFailed for a broken one."""
    if not NAME.fullmatch(name):
        return None
    path = os.path.join(environments_directory(), name, FACTS)
    try:
        with open(path, "rb") as stream:
            data = stream.read(FACTS_CAP_BYTES)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise EnvironmentFailed(name, f"{path} cannot be read: {error.strerror}") from error
    remedy = f"Remove it with `cellblock env remove {name}` and create it anew"
    try:
        found = PackageEnvironment.model_validate_json(data)
    except ValidationError as error:
        raise EnvironmentFailed(name, f"{path} is damaged", remedy=remedy) from error
    if found.name != name or not os.path.isdir(found.site):
        raise EnvironmentFailed(name, f"its directory {found.site} is missing", remedy=remedy)
    return found


def names() -> list[str]:
    """Names of the environments that are there, sorted."""
    try:
        found = os.listdir(environments_directory())
    except FileNotFoundError:
        return []
    return sorted(name for name in found if NAME.fullmatch(name))


def remove(name: str) -> bool:
    """Remove the environment `name`, also a damaged one; False if it is not there.

    Sessions that use it lose its packages.
    """
    directory = os.path.join(environments_directory(), checked_name(name))
    if not os.path.isdir(directory):
        return False
    remove_tree(directory)
    return True
