"""Config: what the owner of a server or of a chat sets, from a TOML file and the environment.

Flags win over the environment, the environment over the file. `CELLBLOCK_CONFIG` names the file,
`CELLBLOCK_MODEL_URL`, `CELLBLOCK_MODEL` and `CELLBLOCK_MODEL_KEY` an endpoint for every model
name, `CELLBLOCK_API_KEY` the key that clients must send.
"""

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, IPvAnyNetwork, JsonValue, ValidationError

from runner.config_problems import config_error
from runner.errors import ConfigError
from sandbox import Policy, PolicyError

ANY = "*"
MiB = 1024 * 1024
Kind = Literal["openai", "fenced", "replay", "embedded"]
Interpreter = Literal["asked", "always"]
"""Whether plain Chat requests get the code interpreter, or those alone that ask for it."""
ThinkingField = Literal["none", "enable_thinking", "chat_template_kwargs", "reasoning_effort"]
PresetName = Literal[
    "", "none", "openai", "azure", "mistral", "deepseek", "dashscope", "openrouter", "vllm",
    "sglang", "llamacpp", "ollama", "lmstudio", "tgi", "litellm",
]  # fmt: skip


class Section(BaseModel):
    """Base of every table of the file: frozen, unknown keys refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class ModelSettings(Section):
    """One upstream. `fenced` is an OpenAI-compatible one whose model cannot call tools, `embedded`
    the small model that `cellblock model install` brings."""

    kind: Kind = "openai"
    """"openai" for an endpoint of Chat Completions, "fenced" if its model cannot call tools,
    "embedded" for the small model of `cellblock model install`, "replay" for a recording."""
    url: str = ""
    """The endpoint's base URL, such as "http://127.0.0.1:11434/v1"."""
    model: str = ""
    """The upstream's own name; empty for the one that was asked for."""
    key: str = ""
    """The key that the endpoint wants; better in the environment, under the name `key_env`."""
    key_env: str = ""
    preset: PresetName = ""
    """Whose habits the endpoint has; empty to go by its host name."""
    omit: tuple[str, ...] = ()
    """Fields that are never sent to it; "strict" is that of each function."""
    rename: Mapping[str, str] = {}
    """Fields that are sent to it under another name."""
    thinking_field: ThinkingField | Literal[""] = ""
    """How it wants to be told to think; empty for the preset's way, "none" for not at all."""
    opens_thinking: bool | None = None
    """Whether its answers begin inside thinking, without `<think>`; found out if not set."""
    read_s: float = Field(default=300.0, gt=0)
    """How long it may send nothing."""
    retries: int = Field(default=2, ge=0, le=10)
    """How often a request that failed before its answer began is sent again."""
    extra: Mapping[str, JsonValue] = {}
    """Fields that are added to every request."""
    headers: Mapping[str, str] = {}
    """Headers that are added to every request."""
    path: str = ""
    """The recording of a `replay`."""
    pace_s: float = Field(default=0.0, ge=0)
    """How long a `replay` waits before each of its events."""
    record: str = ""
    """A file to which every exchange is appended."""
    interpreter: Interpreter = "asked"
    """"always" gives the code interpreter to plain Chat requests that do not ask for it."""
    system: str = ""
    """Instructions before every conversation."""
    temperature: float | None = None
    """Where a request sets none, as the next one."""
    max_tokens: int | None = Field(default=None, ge=1)
    """The most that one answer of the model may have."""
    rounds: int | None = Field(default=None, ge=1)
    """The most turns of the model in one request."""


class KeySettings(Section):
    """A key that clients send, whose it is, and what its owner may use."""

    key: str = ""
    """The key itself; better in the environment, under the name `key_env`."""
    key_env: str = ""
    tenant: str = "default"
    """The owner's name: keys of one owner share files, containers and responses."""
    requests_per_minute: int = Field(default=600, ge=1)
    admin: bool = False
    """Whether it may list and end sessions of all keys (cellblock top, cellblock sessions)."""
    concurrent_requests: int = Field(default=256, ge=1)
    """Requests that may be open at once."""
    sessions: int = Field(default=32, ge=1)
    """Live sessions at once: of containers, over REST, and programs of /run_code."""
    interpreter: Interpreter = "asked"
    """"always" gives the code interpreter to plain Chat requests that do not ask for it."""
    stored_bytes: int = Field(default=1024 * MiB, ge=0)
    """All files, responses and conversations of the owner together."""

    @property
    def secret(self) -> str:
        """The key itself; empty if the variable is not set."""
        return self.key or os.environ.get(self.key_env, "")


class ServerSettings(Section):
    """How the server listens and what one request may spend."""

    host: str = "127.0.0.1"
    """The address to listen on; any but this machine's own needs [[keys]]."""
    port: int = Field(default=8000, ge=0, le=65535)
    hosts: tuple[str, ...] = ()
    """Names beside its address that clients reach it by, such as the one of a proxy before it."""
    cors_origins: tuple[str, ...] = ()
    """Sites whose pages may use it with a key, such as "https://chat.example"; "*" for all."""
    e2b_domain: str = ""
    """Whose `api.` and sandboxes' names are E2B's: `E2B_DOMAIN` of clients, behind a TLS proxy."""
    head_s: float = Field(default=10.0, gt=0)
    """How long a connection may take to send a request's head."""
    connections_per_address: int = Field(default=1024, ge=1)
    """Connections that one address may have; the one that waited longest gives way."""
    body_bytes: int = Field(default=64 * MiB, ge=1024)
    """The largest body of a request that is no upload."""
    heartbeat_s: float = Field(default=12.0, gt=0)
    """After so long without an event a stream sends a comment, so that proxies keep it open."""
    grace_s: float = Field(default=10.0, ge=0)
    """How long a stop waits for open streams before it cancels them."""
    wall_s: float = Field(default=600.0, gt=0)
    """How long one request may take, all turns and tools together."""
    rounds: int = Field(default=24, ge=1)
    """The most turns of a model in one request."""
    shown_chars: int = Field(default=8000, ge=400)
    """How much of one tool's output a model is shown."""
    strict_outputs: bool = False
    """Show what code printed only to clients that ask by `include`."""
    log_content: bool = False
    """Put prompts and code into the log."""
    install: bool = False
    """Whether clients may have packages fetched into their sessions, from this machine's index."""
    warm_sessions: int = Field(default=2, ge=0)
    """Sessions that are made before they are asked for."""
    max_sessions: int = Field(default=64, ge=1)
    """Live sessions of all keys together."""
    idle_minutes: int = Field(default=20, ge=1)
    """How long a session or container is kept that is not used."""
    data_dir: str = ""
    """Where responses, containers and files are kept; empty for the user's data directory."""
    file_bytes: int = Field(default=100 * MiB, ge=1)
    """The largest file that is taken as an upload, or kept of those that code made."""
    retention_days: int = Field(default=30, ge=1)
    """How long responses are kept, and the files of expired containers."""

    @property
    def data_path(self) -> Path:
        """`data_dir`, or what stands for it. Source: XDG Base Directory Specification."""
        if self.data_dir:
            return Path(self.data_dir).expanduser()
        base = os.environ.get("XDG_DATA_HOME") or "~/.local/share"
        return Path(base).expanduser() / "cellblock"


class AuditSettings(Section):
    """A log of which key ran which code; `cellblock audit FILE` checks that it is whole."""

    file: str = ""
    """A file to which each run is appended: when, which owner, the code's hash; empty for none."""
    code: bool = False
    """Put the code itself there too."""


class SearchSettings(Section):
    """Where `web_search` looks. "metasearch" asks public engines without a key."""

    backend: Literal["metasearch", "searxng", "folder", "none"] = "metasearch"
    url: str = ""
    """Base URL of a SearXNG instance."""
    folder: str = ""
    """A folder of texts, searched offline."""
    results: int = Field(default=5, ge=1, le=20)
    """How many hits a model is shown."""


class PagesSettings(Section):
    """What `web_extractor` may open: public addresses, and these networks at any port."""

    enabled: bool = True
    allow_networks: tuple[IPvAnyNetwork, ...] = ()
    """Networks of your own, such as "10.0.0.0/8"."""
    page_bytes: int = Field(default=4 * MiB, ge=1024, le=16 * MiB)
    """The largest page that is read."""


class McpSettings(Section):
    """A server of tools, which become functions in the snippets of `serve` and `chat`."""

    url: str = ""
    """Its address, over streamable HTTP, or over SSE where it ends with "/sse"."""
    command: tuple[str, ...] = ()
    """A program that is one, started on this machine as this user."""
    headers: Mapping[str, str] = {}
    """Headers that go with each request."""
    headers_env: Mapping[str, str] = {}
    """The same, each value from the environment by the name that is given."""
    env: Mapping[str, str] = {}
    """Variables of the command."""
    tools: tuple[str, ...] = ()
    """The tools that there are to be; empty for all."""
    prefix: str = ""
    """What each function's name begins with."""
    timeout_s: float = Field(default=60.0, gt=0)
    """How long one call may take."""
    max_calls: int = Field(default=1000, ge=1)
    """How often one snippet may call each, or one response."""
    in_snippets: bool = True
    """Whether snippets call them; without it, only responses that name the server."""


class Config(Section):
    """Everything. `models` maps a requested name to an upstream; "*" stands for any other."""

    server: ServerSettings = ServerSettings()
    models: Mapping[str, ModelSettings] = {}
    keys: tuple[KeySettings, ...] = ()
    policy: Mapping[str, JsonValue] = {}
    audit: AuditSettings = AuditSettings()
    search: SearchSettings = SearchSettings()
    pages: PagesSettings = PagesSettings()
    mcp: Mapping[str, McpSettings] = {}

    def sandbox_policy(self) -> Policy:
        """The policy of every session. Raises PolicyError."""
        try:
            return Policy.model_validate(dict(self.policy))
        except PolicyError as error:
            raise error.in_source("policy") from None

    @classmethod
    def load(cls, path: Path | None, environ: Mapping[str, str] | None = None) -> Self:
        """The config of this process. Raises ConfigError."""
        env = os.environ if environ is None else environ
        named = path or (Path(env["CELLBLOCK_CONFIG"]) if env.get("CELLBLOCK_CONFIG") else None)
        config = cls() if named is None else cls.read(named)
        return config.with_environment(env)

    @classmethod
    def read(cls, path: Path) -> Self:
        """The config in the file `path`. Raises ConfigError."""
        try:
            with path.open("rb") as file:
                data = tomllib.load(file)
            return cls.model_validate(data)
        except OSError as error:
            raise ConfigError(path.name, error.strerror or "cannot be read") from error
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise ConfigError(path.name, f"is no TOML: {error}") from error
        except ValidationError as error:
            raise config_error(error, cls, path.name) from error

    def given_keys(self) -> tuple[KeySettings, ...]:
        """Keys that clients send. Raises ConfigError for an entry whose key is not to be had."""
        for number, one in enumerate(self.keys):
            if not one.secret:
                raise _missing_key(f"keys[{number}]", one.key_env)
        return self.keys

    def with_environment(self, environ: Mapping[str, str]) -> Self:
        """This config with what the environment sets over it."""
        update: dict[str, object] = {}
        if url := environ.get("CELLBLOCK_MODEL_URL"):
            endpoint = ModelSettings(
                url=url,
                model=environ.get("CELLBLOCK_MODEL", ""),
                key=environ.get("CELLBLOCK_MODEL_KEY", ""),
            )
            update["models"] = {ANY: endpoint}
        if key := environ.get("CELLBLOCK_API_KEY"):
            update["keys"] = (KeySettings(key=key),)
        return self.model_copy(update=update)


def _missing_key(place: str, key_env: str) -> ConfigError:
    if not key_env:
        return ConfigError(place, "has no key", "Give it key_env, the name of a variable")
    remedy = "Set it where this is started, or take the entry out"
    return ConfigError(f"{place}.key_env", f"{key_env} is not set in the environment", remedy)
