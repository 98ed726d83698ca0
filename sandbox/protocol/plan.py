"""JailPlan: a policy lowered to plain data. The guest applies it and decides nothing.

The host builds one plan per zygote and sends it as JSON over the zygote's control channel.
Every field is a number, a string, a boolean or a tuple of such rows, so that `from_json` can
check each of them and a plan that lost or gained a field is refused.
"""

import json
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

Tier = Literal["namespaces", "landlock", "process"]
Access = Literal["ro", "rw"]
Language = Literal["full", "restricted"]
ImportAction = Literal["allow", "refuse", "log", "kill"]

WORKSPACE = "/mnt/data"
"""Where a session keeps its files; hosted interpreters have them there, and models write it."""
WORKSPACE_ALIAS = "/workspace"
TEMPORARY = "/mnt/tmp"
"""What `/tmp` leads to. Both are mounted below one directory that stays, so that a rule on it
covers what a branch of the session mounts there later (see guest/branch.py)."""
HOME_ALIAS = "/home/user"
"""What the home directory, which is in `/tmp`, is called elsewhere."""
SHARED_MEMORY = "/dev/shm"
HOSTNAME = "cellblock"
OWN_PACKAGES = ".packages"
"""Directory of a session's home for packages that it alone has."""
HOMES = ("home", f"home/{OWN_PACKAGES}")
"""The home directory in a session's `/tmp`, and what is in it from the beginning."""
HASH_SEED = "PYTHONHASHSEED"
"""The one variable of a plan that the zygote's interpreter is started with too."""
GUEST_ID = 1000
"""The uid and gid that a snippet sees as its own."""
FIRST_SESSION_ID = 2
"""Ids 0 and 1 of a zygote's range are its own and the one that read-write mounts are shown to."""
IDS_PER_ZYGOTE = 60_000
ENGINE_PROCESSES = 2
"""Processes of a session that are not the snippet's: init and the standby."""
CHECKPOINTS_CAP = 16
"""Most checkpoints that a session can keep; each is a process too."""

LAYERS = (
    "user_namespace",
    "mount_namespace",
    "pid_namespace",
    "net_namespace",
    "ipc_namespace",
    "uts_namespace",
    "cgroup_namespace",
    "rlimits",
    "capabilities",
    "no_new_privs",
    "not_dumpable",
    "landlock",
    "seccomp",
    "import_policy",
)
"""Names of the layers that a plan can ask for, in the order in which they are put on."""


@dataclass(frozen=True)
class Bind:
    """A host path shown inside the jail. `source` and `target` are absolute."""

    source: str
    target: str
    access: Access


@dataclass(frozen=True)
class ImportRule:
    """Modules whose full name matches `pattern` (fnmatch) get `action`; first match wins."""

    pattern: str
    action: ImportAction
    reason: str
    alternative: str = ""


@dataclass(frozen=True)
class RlimitPlan:
    """Resource limits of every process of a session; None leaves the host's value."""

    data_bytes: int | None
    processes: int | None
    open_files: int
    file_bytes: int
    stack_bytes: int


@dataclass(frozen=True)
class JailPlan:
    """Everything that a zygote and its workers need to know."""

    tier: Tier
    layers: tuple[str, ...]
    binds: tuple[Bind, ...]
    packages: str
    """Directory of packages that come before the interpreter's own; empty for none."""
    byte_code: str
    """Directory of byte code that the engine keeps, as sessions see it; empty for none."""
    preload: tuple[str, ...]
    import_rules: tuple[ImportRule, ...]
    import_default: ImportAction
    language: Language
    notebook: bool
    """Whether `%time`, `!ls` and the like are understood."""
    env: tuple[tuple[str, str], ...]
    workspace_bytes: int
    workspace_files: int
    shm_bytes: int
    rlimits: RlimitPlan
    host_id_base: int | None
    """First of the host uids that sessions are mapped to; None maps all of them to the caller."""
    shared_host_id: int | None
    """The one host uid for every session, where read-write mounts must belong to them."""
    memory_bytes: int
    """Memory of a whole session, for its cgroup or the meter."""
    processes: int
    """Processes and threads of a snippet; init, standby and checkpoints come on top."""
    listen_ports: tuple[int, ...]
    """Ports of the session's loopback that the host serves: the proxy's first; none without one."""
    has_groups: bool
    """Whether cgroups count; without them a call whose memory is not seen is refused."""
    trace: bool
    """Whether what a snippet tries is told: calls that are refused, files, programs, addresses."""
    keep_going: bool
    """Whether a snippet goes on with its next statement after one that raised."""

    def to_json(self) -> bytes:
        return json.dumps(asdict(self), separators=(",", ":")).encode()

    @classmethod
    def from_json(cls, data: bytes) -> "JailPlan":
        """The plan in `data`. Raises ValueError when a field is missing or unknown."""
        raw: dict[str, Any] = json.loads(data)
        known = {field.name for field in fields(cls)}
        if set(raw) != known:
            raise ValueError(f"plan fields differ: {sorted(set(raw) ^ known)}")
        raw["layers"] = tuple(raw["layers"])
        raw["preload"] = tuple(raw["preload"])
        raw["listen_ports"] = tuple(raw["listen_ports"])
        raw["env"] = tuple((name, value) for name, value in raw["env"])
        raw["binds"] = tuple(Bind(**row) for row in raw["binds"])
        raw["import_rules"] = tuple(ImportRule(**row) for row in raw["import_rules"])
        raw["rlimits"] = RlimitPlan(**raw["rlimits"])
        return cls(**raw)

    def session_host_id(self, number: int) -> int | None:
        """The host uid and gid of session `number`; None where they are the caller's own."""
        if self.host_id_base is None:
            return None
        if self.shared_host_id is not None:
            return self.shared_host_id
        return self.host_id_base + FIRST_SESSION_ID + number % IDS_PER_ZYGOTE

    @property
    def has_own_ids(self) -> bool:
        """Whether each session has a host id that no other process has."""
        return self.host_id_base is not None and self.shared_host_id is None

    def shows_below(self, path: str) -> bool:
        """Whether something of the host is shown at `path` or below it."""
        return any(f"{bind.target}/".startswith(f"{path}/") for bind in self.binds)

    def asks_for(self, layer: str) -> bool:
        """Whether `layer` must hold before guest code may run."""
        return layer in self.layers
