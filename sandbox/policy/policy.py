"""Policy: what a sandbox allows. Frozen, hashable, unknown keys refused, also from TOML.

`lowering.lower` turns it into the plan that the guest applies.
"""

import fnmatch
import os
import posixpath
import re
import tomllib
from collections.abc import Mapping
from typing import Annotated, Any, Literal, NoReturn, Self, TypeVar, get_args

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    PlainSerializer,
    StrictBool,
    StrictInt,
    StrictStr,
    model_validator,
)
from pydantic.json_schema import GenerateJsonSchema

from sandbox.errors import PolicyError
from sandbox.network.rules import NetworkRules
from sandbox.network.secrets import Secret
from sandbox.policy import profiles
from sandbox.policy.arguments import check_type
from sandbox.policy.limits import Limits
from sandbox.policy.presets import PRESETS, PresetName
from sandbox.policy.settings import Settings
from sandbox.protocol.plan import (
    TEMPORARY,
    WORKSPACE,
    WORKSPACE_ALIAS,
    Access,
    ImportAction,
    ImportRule,
    Language,
    Tier,
)

RULES_CAP = 2_000
PRELOAD_CAP = 200
MOUNTS_CAP = 100
ENV_CAP = 500
ENV_CAP_BYTES = 64 * 1024
"""Of all variables together: they are part of every process's memory."""

MODULE_NAME = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*")
MODULE_PATTERN = re.compile(r"[\w.*?\[\]!-]+")

VARIABLE_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")
SECRETS_CAP = 50
Value = TypeVar("Value")

HASH_SEED_CAP = 2**32 - 1
RESERVED_ENV = (  # pattern     why
    ("LD_*", "it would act on the trusted process that forks the workers"),
    ("PYTHON*", "it would act on the trusted process that forks the workers"),
    ("GLIBC_TUNABLES", "it would act on the trusted process that forks the workers"),
    ("GCONV_PATH", "it names libraries to load"),
)

TARGETS_REFUSED = (  # path      beneath it too   why
    ("/", False, "it would replace the whole jail"),
    (WORKSPACE, True, "each session has its own workspace there"),
    (WORKSPACE_ALIAS, True, "it is another name of the workspace"),
    (TEMPORARY, True, "each session has its own temporary directory there"),
    ("/tmp", True, "each session has its own temporary directory there"),
    ("/var/tmp", True, "it is another name of the temporary directory"),
    ("/dev", True, "devices are the jail's"),
    ("/proc", True, "each session has its own"),
    ("/sys", True, "a jail has none"),
    ("/etc", True, "its few files are the jail's"),
    ("/usr", True, "programs and libraries are there"),
    ("/bin", True, "programs are there"),
    ("/sbin", True, "programs are there"),
    ("/lib", True, "libraries are there"),
    ("/lib64", True, "libraries are there"),
)


class Frozen(dict[str, Value]):
    """A mapping that cannot be changed any more, so that a policy can be a key."""

    def __hash__(self) -> int:  # type: ignore[override]
        return hash(frozenset(self.items()))

    def __reduce__(self) -> tuple[type[Self], tuple[dict[str, Value]]]:
        return type(self), (dict(self),)

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: object) -> Self:
        return self

    def _refuse(self, *_args: object, **_options: object) -> NoReturn:
        raise TypeError("a policy's env and secrets cannot be changed; make a new policy")

    __setitem__ = __delitem__ = __ior__ = _refuse
    clear = pop = popitem = setdefault = update = _refuse


class FrozenEnv(Frozen[str]):
    """Environment variables of a policy."""


class FrozenSecrets(Frozen[Secret]):
    """Secrets of a policy, by the name of the variable that holds the placeholder."""


# ---- imports ------------------------------------------------------------------------------------


def _import_rule(value: object) -> ImportRule:
    """`value` as a rule with checked fields; a table needs `pattern` and `action`."""
    row: dict[object, object] = {}
    if isinstance(value, ImportRule):
        row.update(vars(value))
    elif isinstance(value, Mapping):
        row.update({"reason": "the policy says so", "alternative": ""})
        row.update(value)
    else:
        raise PolicyError("", f"is {value!r}", "A rule is a table with pattern and action")
    known = ("pattern", "action", "reason", "alternative")
    for key in row:
        if key not in known:
            raise PolicyError(str(key), "unknown key of a rule", f"Known keys: {', '.join(known)}")
    for key in known:
        if key not in row:
            raise PolicyError(key, "is missing", "A rule is a table with pattern and action")
        if not isinstance(row[key], str):
            raise PolicyError(key, f"is {row[key]!r}", "It must be a string")
    pattern, action = str(row["pattern"]), row["action"]
    if not MODULE_PATTERN.fullmatch(pattern):
        raise PolicyError("pattern", f"is {pattern!r}", "Name a module; * stands for any text")
    for known_action in get_args(ImportAction):
        if action == known_action:
            return ImportRule(pattern, known_action, str(row["reason"]), str(row["alternative"]))
    raise PolicyError(
        "action", f"is {action!r}", f"It must be one of {', '.join(get_args(ImportAction))}"
    )


class ImportPolicy(Settings):
    """Rules for modules by full name, first match wins; `default` where none matches."""

    rules: tuple[Annotated[ImportRule, BeforeValidator(_import_rule)], ...] = Field(
        default=(), max_length=RULES_CAP
    )
    default: ImportAction = "allow"

    def decide(self, module: str) -> ImportAction:
        """What an import of `module` by a snippet leads to.

        A module that no rule names is refused as part of a package that a rule refuses.
        """
        action = self._first_match(module)
        if action is not None:
            return action
        parts = module.split(".")
        packages = (".".join(parts[:count]) for count in range(1, len(parts)))
        for outer in map(self._first_match, packages):
            if outer in ("refuse", "kill"):
                return outer
        return self.default

    def _first_match(self, module: str) -> ImportAction | None:
        for rule in self.rules:
            if fnmatch.fnmatchcase(module, rule.pattern):
                return rule.action
        return None


def _over_preset(table: Mapping[str, object]) -> dict[str, object]:
    """`table` with the rules of its `preset` behind its own, and the preset's default."""
    found = dict(table)
    if "preset" not in found:
        return found
    name, own = found.pop("preset"), found.get("rules", ())
    if name not in PRESETS:
        raise PolicyError("preset", f"is {name!r}", f"Presets are {', '.join(PRESETS)}")
    preset = PRESETS[name]
    if isinstance(own, list | tuple):
        found["rules"] = (*own, *preset.rules)
    return {"default": preset.default, **found}


def _imports(value: object) -> object:
    """One kind of value each, so that a mistake is told once and in its own words."""
    if isinstance(value, str) and value not in PRESETS:
        raise PolicyError(
            "", f"is {value!r}", f"Presets are {', '.join(PRESETS)}; or give rules and default"
        )
    if isinstance(value, Mapping):
        return ImportPolicy.model_validate(_over_preset(value))
    if not isinstance(value, str | ImportPolicy):
        raise PolicyError("", f"is {value!r}", "Give a preset's name, or rules and default")
    return value


# ---- paths, names, variables --------------------------------------------------------------------


def _path_text(value: object) -> object:
    return os.fspath(value) if isinstance(value, os.PathLike) else value


def _checked_path(path: str) -> str:
    if not path or "\0" in path:
        raise PolicyError("", f"is {path!r}", "It must be a path")
    return path


def _absolute(path: str) -> str:
    if not path.startswith("/") or "\0" in path:
        raise PolicyError("", f"is {path!r}", "It must be an absolute path")
    # normpath keeps two leading slashes, which Linux reads as one.
    return "/" + posixpath.normpath(path).lstrip("/")


def _target(path: str) -> str:
    path = _absolute(path)
    for reserved, with_beneath, why in TARGETS_REFUSED:
        if path == reserved or (with_beneath and path.startswith(reserved + "/")):
            raise PolicyError("", f"is {path!r}: {why}", "Choose another target, such as /data")
    return path


Path = Annotated[StrictStr, BeforeValidator(_path_text), AfterValidator(_checked_path)]
HostPath = Annotated[StrictStr, BeforeValidator(_path_text), AfterValidator(_absolute)]
Target = Annotated[StrictStr, BeforeValidator(_path_text), AfterValidator(_target)]


class Mount(Settings):
    """The host's file or directory `host` is seen as `target` in the jail, read-only or not."""

    host: HostPath
    target: Target
    access: Access = "ro"


def _module_name(name: str) -> str:
    if not MODULE_NAME.fullmatch(name):
        raise PolicyError("", f"is {name!r}", "Name a module as an import statement does")
    return name


def _each_once(names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(names))


def _env(variables: Mapping[str, str]) -> FrozenEnv:
    size = 0
    for name, value in variables.items():
        if not name or "=" in name or "\0" in name:
            raise PolicyError("", f"{name!r} is no name of a variable")
        if "\0" in value:
            raise PolicyError(name, "its value has a NUL character")
        for pattern, why in RESERVED_ENV:
            if fnmatch.fnmatchcase(name, pattern):
                raise PolicyError(name, f"cannot be set: {why}", "Leave it out")
        size += len(name.encode("utf-8", "replace")) + len(value.encode("utf-8", "replace")) + 2
    if size > ENV_CAP_BYTES:
        raise PolicyError("", f"takes {size} bytes, at most {ENV_CAP_BYTES} fit", "Use a file")
    return FrozenEnv(variables)


def _network(value: object) -> object:
    if value == "none":
        return value
    if isinstance(value, list | tuple) and all(isinstance(item, str) for item in value):
        try:
            return tuple(str(rule) for rule in NetworkRules.parse(value).rules)
        except PolicyError as error:
            raise PolicyError(
                error.field.removeprefix("network"), error.problem, error.remedy
            ) from None
    raise PolicyError("", f"is {value!r}", "It must be 'none' or a list of host:port")


def _secrets(value: Mapping[str, Secret]) -> FrozenSecrets:
    for name in value:
        if not VARIABLE_NAME.fullmatch(name):
            raise PolicyError(name, "is no name of a variable", "Use letters, digits and _")
    return FrozenSecrets(value)


Module = Annotated[StrictStr, AfterValidator(_module_name)]
Secrets = Annotated[
    Mapping[StrictStr, Secret],
    Field(max_length=SECRETS_CAP),
    AfterValidator(_secrets),
    # A policy is shown and stored; the values of its secrets are not.
    PlainSerializer(
        lambda found: {name: {"hosts": list(one.hosts)} for name, one in found.items()},
        return_type=dict[str, Any],
    ),
]
Env = Annotated[
    Mapping[StrictStr, StrictStr],
    Field(max_length=ENV_CAP),
    AfterValidator(_env),
    PlainSerializer(dict, return_type=dict[str, str]),
]


# ---- the policy ---------------------------------------------------------------------------------


class Policy(Settings):
    """What a sandbox allows. Raises PolicyError for anything unknown or contradictory.

    tier         "namespaces"; "landlock" and "process" hold less and must be written out
    environment  path of an interpreter; None is the one that runs this program
    preload      names of modules that every session finds imported
    imports      "open", "data", "pure", or rules and a default: modules by name
    language     "full" or "restricted"
    notebook     True or False: whether `%time`, `!ls`, `frame?` are understood
    network      "none", or a list such as ["packages.example.org:443"]
    secrets      {"API_KEY": Secret("value", hosts=["api.example.com"])}
    mounts       [Mount(host="/data", target="/data", access="ro")]
    env          {"NAME": "value"}: variables of the guest
    hash_seed    a whole number, or None for another order of sets each time
    survive      True or False: whether variables outlive a snippet that had to be killed
    files        "keep" or "rollback": the workspace, when variables go back
    trace        True or False: whether `outcome.attempts` lists what was tried
    keep_going   True or False: whether the next statement runs after one that raised
    limits       Limits(wall_s=30, cpu_s=30, memory_bytes=2**30, ...): seconds, bytes and counts,
                 as the field's name says; see help(Limits)
    """

    tier: Tier = "namespaces"
    """The least that must hold; "landlock" and "process" are weaker and must be written out."""
    environment: Path | None = None
    """Name of a package environment, or path of an interpreter; None is what runs this program."""
    preload: Annotated[tuple[Module, ...], AfterValidator(_each_once)] = Field(
        default=(), max_length=PRELOAD_CAP
    )
    """Modules that every session finds imported already."""
    imports: Annotated[PresetName | ImportPolicy, BeforeValidator(_imports)] = "open"
    language: Language = "full"
    notebook: StrictBool = True
    """Whether a snippet may use what notebooks add to Python: `%time`, `!ls`, `frame?`."""
    network: Annotated[Literal["none"] | tuple[StrictStr, ...], BeforeValidator(_network)] = "none"
    """Hosts and ports that HTTP requests may go to, as in `packages.example.org:443`,
    `*.example.com:443` or, for an address that is not public, `127.0.0.1:5432!`."""
    secrets: Secrets = FrozenSecrets()
    """Values that requests to named hosts carry; a snippet finds a placeholder in its variable."""
    mounts: tuple[Mount, ...] = Field(default=(), max_length=MOUNTS_CAP)
    env: Env = FrozenEnv()
    """Variables of the guest, on top of the few that every jail has."""
    hash_seed: StrictInt | None = Field(default=None, ge=0, le=HASH_SEED_CAP)
    """What the hashes of texts start from, so that sets have one order; None: another each time."""
    survive: StrictBool = True
    """Whether variables survive a snippet that had to be killed."""
    files: Literal["keep", "rollback"] = "keep"
    """What becomes of the workspace when variables go back to before a snippet."""
    trace: StrictBool = False
    """Whether outcomes list in `attempts` what a snippet tried, and every refusal with its line."""
    keep_going: StrictBool = False
    """Whether a snippet goes on with its next statement after one that raised; it then ends with
    the first of the errors."""
    limits: Limits = Limits()

    @property
    def import_policy(self) -> ImportPolicy:
        """The rules that `imports` stands for."""
        if isinstance(self.imports, ImportPolicy):
            return self.imports
        return ImportPolicy.model_construct(**PRESETS[self.imports]._asdict())

    @model_validator(mode="after")
    def _agree(self) -> Self:
        decide = self.import_policy.decide
        for index, module in enumerate(self.preload):
            if decide(module) in ("refuse", "kill"):
                raise PolicyError(
                    f"preload[{index}]",
                    f"{module!r} is refused by imports, so no snippet could use it",
                    "Leave it out, or allow it with a rule",
                )
        if self.network != "none" and self.tier != "namespaces":
            raise PolicyError(
                "network",
                f"cannot be allowed by name in tier {self.tier!r}, which has no net namespace",
                'Use tier="namespaces", or network="none"',
            )
        if self.secrets and self.network == "none":
            raise PolicyError(
                "secrets",
                "are of no use without a network",
                "Name their hosts in network, or leave them out",
            )
        if self.network != "none":
            rules = NetworkRules.parse(self.network)
            for name, secret in self.secrets.items():
                secret.check_ways(name, rules)
        targets: dict[str, Mount] = {}
        for index, mount in enumerate(self.mounts):
            other = targets.setdefault(mount.target, mount)
            if other != mount:
                raise PolicyError(
                    f"mounts[{index}].target",
                    f"{mount.target!r} is the target of {other.host!r} already",
                    "Give each mount a target of its own",
                )
        return self

    @classmethod
    def profile(cls, name: str) -> Self:
        """Return the policy that is known as `name`, such as "agent" or "paranoid".

        Raises PolicyError that lists the names. Source: `sandbox/policy/profiles.py`.
        """
        return cls(**profiles.profile_table(name))

    @classmethod
    def from_toml(cls, path: str | os.PathLike[str]) -> Self:
        """Read the policy in the TOML file `path`, over what it `extends`.

        Relative paths in a file start from its directory. Raises PolicyError with file and key.
        """
        source = os.fspath(path)
        try:
            return cls(**profiles.read_table(source))
        except PolicyError as error:
            raise error if error.source else error.in_source(source) from None

    @classmethod
    def from_toml_text(
        cls, text: str, *, source: str = "TOML text", directory: str | None = None
    ) -> Self:
        """Read the policy in a TOML text. Relative paths start from `directory`, if one is given.

        Without a `directory` it may extend a profile, and no file.
        """
        try:
            table = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            raise PolicyError("", f"is no TOML: {error}", source=source) from error
        if directory is not None:
            directory = os.path.abspath(directory)
            profiles.resolve_paths(table, directory)
        try:
            return cls(**profiles.extended(table, directory))
        except PolicyError as error:
            raise error if error.source else error.in_source(source) from None

    @classmethod
    def file_schema(cls) -> dict[str, Any]:
        """Return the JSON schema of a policy file: the policy's own, and what it may extend."""
        schema = cls.model_json_schema(mode="validation", schema_generator=_FileSchema)
        schema["title"] = "Cellblock policy file"
        schema["$defs"]["ImportPolicy"]["properties"]["preset"] = {
            "enum": list(PRESETS),
            "description": "Its rules follow those that are given here",
        }
        schema["properties"][profiles.EXTENDS] = {
            "type": "string",
            "description": "A profile, or another policy file that ends in .toml",
            "examples": list(profiles.PROFILES),
        }
        return schema


class _FileSchema(GenerateJsonSchema):
    """Writes the defaults that pydantic does not know how to."""

    def encode_default(self, dflt: Any) -> Any:
        """`dflt` as JSON has it."""
        return dict(dflt) if isinstance(dflt, Frozen) else super().encode_default(dflt)


def checked_policy(policy: Policy | None) -> Policy:
    """`policy`, or the default one. Raises PolicyError for what is none."""
    if policy is None:
        return Policy()
    remedy = 'Give Policy(...), Policy.from_toml("FILE") or Policy.profile("NAME"), from `sandbox`'
    check_type("policy", policy, Policy, remedy)
    return policy
