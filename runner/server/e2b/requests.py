"""Requests of E2B's clients: their fields, bounded, and what of them this server can do."""

from typing import TypeVar

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError
from starlette.requests import Request

from runner.errors import RequestError
from runner.server.e2b.contexts import LANGUAGES, NO_LANGUAGE
from runner.server.e2b.forms import NotDone
from runner.server.e2b.sandboxes import LONGEST_S, TIMEOUT_S, Wanted
from runner.server.http.bodies import read_json

BODY_BYTES = 256 * 1024
CODE_CHARS = 1_000_000
PATH_CHARS = 4096
NAME_CHARS = 1024
VALUE_CHARS = 64 * 1024
PAIRS_MOST = 256
FORKS_MOST = 20
Body = TypeVar("Body", bound=BaseModel)
Texts = dict[str, str]
NO_NETWORK = (
    "The network of a sandbox here is what the server's policy says ({policy}); {field} cannot"
    " change it for one sandbox."
)
NO_MEMORYLESS = (
    "A sandbox here is paused with its memory: what keeps only the files, and boots anew, does not"
    " exist."
)


class Asked(BaseModel):
    """A body: a field that is not known is refused by its name."""

    model_config = ConfigDict(extra="forbid", strict=True)


class NewSandbox(Asked):
    """`POST /v2/sandboxes`."""

    templateID: str = Field(max_length=NAME_CHARS)
    timeout: int = Field(default=TIMEOUT_S, ge=0, le=LONGEST_S)
    autoPause: bool | None = None
    autoPauseMemory: bool | None = None
    autoResume: dict[str, JsonValue] | None = None
    secure: bool | None = None
    allow_internet_access: bool | None = None
    network: dict[str, JsonValue] | None = None
    metadata: Texts | None = None
    envVars: Texts | None = None
    mcp: JsonValue = None
    iam: JsonValue = None
    volumeMounts: list[JsonValue] | None = None

    def wanted(self, network: str) -> Wanted:
        """What is asked for. Raises NotDone for what a sandbox of this server has not."""
        for field, value, why in (
            ("mcp", self.mcp, "the MCP server of this server is at /mcp, not in a sandbox"),
            ("iam", self.iam, "sandboxes here have no identities"),
            ("volumeMounts", self.volumeMounts, "there are no volumes"),
        ):
            if value:
                raise NotDone(f"{field}: {why}.")
        shown = network or "no network"
        if self.allow_internet_access is not None and self.allow_internet_access != bool(network):
            raise NotDone(NO_NETWORK.format(policy=shown, field="allow_internet_access"))
        # Nothing from outside reaches a port in a sandbox, so that part holds already.
        if more := (self.network or {}).keys() - {"allowPublicTraffic"}:
            raise NotDone(NO_NETWORK.format(policy=shown, field=f"network.{min(more)}"))
        if (self.network or {}).get("allowPublicTraffic") is True:
            raise NotDone("network.allowPublicTraffic: no port of a sandbox here is public.")
        if self.autoPause and self.autoPauseMemory is False:
            raise NotDone(NO_MEMORYLESS)
        return Wanted(
            template=self.templateID,
            timeout_s=self.timeout,
            metadata=bounded("metadata", self.metadata),
            envs=bounded("envVars", self.envVars),
            pauses=bool(self.autoPause),
            resumes=bool((self.autoResume or {}).get("enabled")),
        )


class Timeout(Asked):
    """`POST /sandboxes/{id}/timeout`."""

    timeout: int = Field(ge=0, le=LONGEST_S)


class Connect(Asked):
    """`POST /v2/sandboxes/{id}/connect`."""

    timeout: int = Field(default=TIMEOUT_S, ge=0, le=LONGEST_S)
    memory: bool | None = None


class Pause(Asked):
    """`POST /sandboxes/{id}/pause`."""

    memory: bool | None = None
    requireHealthyGuest: bool | None = None


class Fork(Asked):
    """`POST /sandboxes/{id}/fork`."""

    timeout: int = Field(default=TIMEOUT_S, ge=0, le=LONGEST_S)
    count: int = Field(default=1, ge=1, le=FORKS_MOST)


class Snapshot(Asked):
    """`POST /sandboxes/{id}/snapshots`."""

    name: str | None = Field(default=None, max_length=NAME_CHARS)
    memory: bool | None = None


class Execute(Asked):
    """`POST /execute`."""

    code: str = Field(max_length=CODE_CHARS)
    context_id: str | None = Field(default=None, max_length=NAME_CHARS)
    language: str | None = Field(default=None, max_length=NAME_CHARS)
    env_vars: Texts | None = None


class NewContext(Asked):
    """`POST /contexts`."""

    language: str | None = Field(default=None, max_length=NAME_CHARS)
    cwd: str | None = Field(default=None, max_length=PATH_CHARS)


async def read(kind: type[Body], request: Request, cap: int = BODY_BYTES) -> Body:
    """The body of a request, as `kind`. Raises RequestError."""
    return checked(kind, await read_json(request, cap))


def checked(kind: type[Body], value: JsonValue) -> Body:
    """`value` as `kind`. Raises RequestError, which names the field at fault."""
    try:
        return kind.model_validate(value)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"])) or "body"
        raise RequestError("invalid", f"{place}: {first['msg']}.", param=place) from None


def bounded(field: str, pairs: Texts | None) -> Texts:
    """Names and values within bounds; of variables none that is no name. Raises RequestError."""
    found = pairs or {}
    if len(found) > PAIRS_MOST:
        raise RequestError("invalid", f"{field}: at most {PAIRS_MOST} names.", param=field)
    for name, value in found.items():
        if len(name) > NAME_CHARS or len(value) > VALUE_CHARS or "\0" in name + value:
            raise RequestError("invalid", f"{field}: {name[:100]!r} is too long.", param=field)
        if field != "metadata" and (not name or "=" in name):
            message = f"{field}: {name[:100]!r} is no name of a variable."
            raise RequestError("invalid", message, param=field)
    return found


def check_language(language: str | None) -> None:
    """Refuse code that is not Python. Raises NotDone."""
    if (language or "").strip().lower() not in LANGUAGES:
        raise NotDone(NO_LANGUAGE.format(language=(language or "")[:100]))
