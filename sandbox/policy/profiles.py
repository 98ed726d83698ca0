"""Names whole policies for common uses, and reads policy files that extend one another.

A profile is a table as a policy file has it, so that `extends = "agent"` in a file and
`Policy.profile("agent")` in a program mean the same.
"""

import difflib
import os
import tomllib
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from sandbox.errors import PolicyError

MiB = 1024 * 1024
EXTENDS = "extends"
DEPTH_CAP = 8
"""Files that may extend one another in a row."""
FILE_CAP_BYTES = 1024 * 1024

PROFILES: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {  # name           what it changes of the defaults, and for which use
        "data-science": {
            "imports": "data",
            "limits": {"wall_s": 120.0, "cpu_s": 120.0, "memory_bytes": 2048 * MiB},
        },
        "agent": {
            "limits": {
                "wall_s": 300.0,
                "cpu_s": 300.0,
                "memory_bytes": 2048 * MiB,
                "processes": 256,
                "workspace_bytes": 1024 * MiB,
                "workspace_files": 100_000,
            },
        },
        "judge": {
            "survive": False,
            "hash_seed": 0,
            "limits": {
                "wall_s": 10.0,
                "cpu_s": 10.0,
                "memory_bytes": 512 * MiB,
                "processes": 16,
                "output_bytes": 4 * MiB,
                "workspace_bytes": 16 * MiB,
                "workspace_files": 100,
            },
        },
        "paranoid": {
            "imports": "pure",
            "language": "restricted",
            "survive": False,
            "limits": {
                "wall_s": 5.0,
                "cpu_s": 5.0,
                "memory_bytes": 256 * MiB,
                "processes": 4,
                "output_bytes": MiB,
                "workspace_bytes": 4 * MiB,
                "workspace_files": 32,
            },
        },
        "trusted": {
            "limits": {
                "wall_s": 3600.0,
                "cpu_s": 14_400.0,
                "memory_bytes": 8192 * MiB,
                "processes": 1024,
                "open_files": 4096,
                "workspace_bytes": 8192 * MiB,
                "workspace_files": 1_000_000,
            },
        },
    }
)
"""Every one of them keeps all layers and no network: a profile moves limits and languages."""


def profile_table(name: str, *, field: str = "profile") -> dict[str, Any]:
    """The table of the profile `name`. Raises PolicyError of `field` that lists the profiles."""
    if name not in PROFILES:
        near = difflib.get_close_matches(str(name), PROFILES, n=1)
        guess = f"Did you mean {near[0]!r}? " if near else ""
        raise PolicyError(field, f"is {name!r}", f"{guess}Profiles are {', '.join(PROFILES)}")
    return _copied(PROFILES[name])


def read_table(path: str) -> dict[str, Any]:
    """The table of the policy file `path`, with those that it extends below it.

    Relative paths in each file start from its own directory. Raises PolicyError.
    """
    return _read(os.path.abspath(path), ())


def extended(table: dict[str, Any], directory: str | None) -> dict[str, Any]:
    """`table` over what it extends; files are looked for in `directory`, if one is given."""
    return _extended(table, directory, ())


def _read(path: str, seen: tuple[str, ...]) -> dict[str, Any]:
    if path in seen or len(seen) >= DEPTH_CAP:
        chain = " -> ".join((*seen, path))
        raise PolicyError(EXTENDS, f"leads in a circle or too far: {chain}", "Break the chain")
    try:
        with open(path, "rb") as stream:
            data = stream.read(FILE_CAP_BYTES + 1)
    except OSError as error:
        raise PolicyError("", f"cannot be read: {error.strerror}", source=path) from error
    if len(data) > FILE_CAP_BYTES:
        raise PolicyError("", f"is longer than {FILE_CAP_BYTES} bytes", source=path)
    try:
        table = tomllib.loads(data.decode())
    except UnicodeDecodeError as error:
        raise PolicyError("", f"cannot be read: {error}", source=path) from error
    except tomllib.TOMLDecodeError as error:
        raise PolicyError("", f"is no TOML: {error}", source=path) from error
    directory = os.path.dirname(path)
    resolve_paths(table, directory)
    return _extended(table, directory, (*seen, path))


def _extended(
    table: dict[str, Any], directory: str | None, seen: tuple[str, ...]
) -> dict[str, Any]:
    name = table.pop(EXTENDS, None)
    if name is None:
        return table
    if not isinstance(name, str):
        raise PolicyError(EXTENDS, f"is {name!r}", "Name a profile or a policy file")
    if name in PROFILES:
        return _over(profile_table(name), table)
    if directory is None or not name.endswith(".toml"):
        profile_table(name, field=EXTENDS)  # Raises, and lists the profiles.
    return _over(_read(os.path.join(directory or ".", name), seen), table)


def _over(below: dict[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """`below` with what `above` sets; tables are merged, lists and values replaced."""
    merged = dict(below)
    for key, value in above.items():
        under = merged.get(key)
        if isinstance(under, dict) and isinstance(value, dict):
            merged[key] = _over(under, value)
        else:
            merged[key] = value
    return merged


def resolve_paths(table: dict[str, Any], directory: str) -> None:
    """Let relative paths of `table` start from `directory`. Wrong types are left for the checks."""
    environment = table.get("environment")
    # A bare name such as python3.12 is looked up in PATH.
    if isinstance(environment, str) and "/" in environment:
        table["environment"] = os.path.join(directory, environment)
    mounts = table.get("mounts")
    for mount in mounts if isinstance(mounts, list) else []:
        if isinstance(mount, dict) and isinstance(mount.get("host"), str) and mount["host"]:
            mount["host"] = os.path.join(directory, mount["host"])


def _copied(table: Mapping[str, Any]) -> dict[str, Any]:
    return {
        key: _copied(value) if isinstance(value, Mapping) else value for key, value in table.items()
    }
