"""Directory: which upstream answers for which model name."""

import importlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from runner.config import ANY, Interpreter, ModelSettings
from runner.errors import ConfigError, RequestError
from runner.models.port import Model, Profile

NO_MODEL_HERE = (
    "This server has no model: it runs code alone. Its owner gives it one under [models] in the"
    " config, or leaves --without-model out."
)


class Served(NamedTuple):
    """A model that answers for a name."""

    model: Model
    profile: Profile


class Directory:
    """Upstreams by the names that clients use. Each is made when it is first asked for."""

    def __init__(
        self,
        settings: Mapping[str, ModelSettings],
        *,
        ready: Mapping[str, Served] | None = None,
    ) -> None:
        """Raises ConfigError for a key that is named and not there."""
        for name, one in settings.items():
            _key(one, name)
        self._settings = settings
        self._made: dict[str, Served] = dict(ready or {})

    @property
    def names(self) -> tuple[str, ...]:
        """Names that are configured, without the one for any other."""
        return tuple(sorted({*self._settings, *self._made} - {ANY}))

    @property
    def is_empty(self) -> bool:
        return not self._settings and not self._made

    def knows(self, name: str) -> bool:
        """Whether a request for `name` would be answered."""
        known = {*self._settings, *self._made}
        return name in known or ANY in known

    def interpreter(self, name: str) -> Interpreter:
        """Whether plain Chat with the model `name` has the code interpreter unasked."""
        settings = self._settings.get(name) or self._settings.get(ANY)
        return "asked" if settings is None else settings.interpreter

    def load(self) -> None:
        """Load the libraries of the configured upstreams, so that no request waits for it."""
        if any(settings.kind in ("openai", "fenced") for settings in self._settings.values()):
            importlib.import_module("runner.models.openai_compatible")

    def find(self, name: str) -> Served:
        """The model for `name`. Raises RequestError, ConfigError."""
        if name in self._made:
            return self._made[name]
        settings = self._settings.get(name)
        if settings is None:
            if ANY in self._made:
                return self._made[ANY]
            settings = self._settings.get(ANY)
            if settings is None:
                message = f"The model `{name[:100]}` does not exist."
                if self.is_empty:
                    message = f"{message} {NO_MODEL_HERE}"
                raise RequestError("model_unknown", message, param="model")
            name = ANY
        if settings.kind == "embedded":
            # One process, whatever the number of its names.
            for other, served in self._made.items():
                if self._settings.get(other) == settings:
                    self._made[name] = served
                    return served
        self._made[name] = build(settings, name)
        return self._made[name]

    async def warm(self) -> None:
        """Start what would keep a first question waiting. Raises ConfigError, UpstreamError."""
        for name, settings in self._settings.items():
            if settings.kind == "embedded":
                from runner.models.embedded import Embedded

                model = self.find(name).model
                if isinstance(model, Embedded):
                    await model.warm()

    async def close(self) -> None:
        """Close every upstream that was made."""
        made, self._made = self._made, {}
        for served in made.values():
            await served.model.close()


def build(settings: ModelSettings, name: str) -> Served:
    """The upstream that `settings` describe. Raises ConfigError, RecordingError."""
    model = _upstream(settings, name)
    if settings.record:
        from runner.models.replay import Recorder

        model = Recorder(model, Path(settings.record))
    return Served(model, _profile(settings))


def _key(settings: ModelSettings, name: str) -> str:
    """The key for an endpoint, "none" for one that wants none. Raises ConfigError."""
    if settings.key or not settings.key_env:
        return settings.key or "none"
    key = os.environ.get(settings.key_env, "")
    if not key:
        problem = f"{settings.key_env} is not set in the environment"
        remedy = "Set it, or leave key_env out for an endpoint without keys"
        raise ConfigError(f"models.{name}.key_env", problem, remedy)
    return key


def _profile(settings: ModelSettings) -> Profile:
    own = {
        "system": settings.system or None,
        "temperature": settings.temperature,
        "max_tokens": settings.max_tokens,
        "rounds": settings.rounds,
    }
    set_here = {name: value for name, value in own.items() if value is not None}
    if settings.kind == "embedded":
        from runner.models.embedded import PROFILE

        return PROFILE.model_copy(update=set_here)
    return Profile.model_validate(set_here)


def _upstream(settings: ModelSettings, name: str) -> Model:
    # Imported here: the client library takes longer to load than the whole rest of a server.
    if settings.kind == "replay":
        from runner.models.replay import Replay

        return Replay.load(Path(settings.path), pace_s=settings.pace_s)
    if settings.kind == "embedded":
        from runner.models.embedded import embedded

        return embedded(f"models.{name}.kind")
    from runner.models.fenced import Fenced
    from runner.models.openai_compatible import Endpoint, OpenAICompatible
    from runner.models.upstream.presets import preset_for

    if not settings.url:
        raise ConfigError(f"models.{name}.url", "is missing", "Name the endpoint's base URL")
    preset = preset_for(settings.url, settings.preset)
    endpoint = Endpoint(
        url=settings.url,
        # A client takes longer to make than a request to answer: one serves every name.
        model=settings.model or ("" if name == ANY else name),
        key=_key(settings, name),
        read_s=settings.read_s,
        retries=settings.retries,
        thinking_field=settings.thinking_field or preset.thinking_field,
        extra=settings.extra,
        headers=settings.headers,
        key_header=preset.key_header,
        omit=(*preset.omit, *settings.omit),
        rename={**preset.rename, **settings.rename},
        opens_thinking=settings.opens_thinking,
    )
    upstream = OpenAICompatible(endpoint)
    return Fenced(upstream) if settings.kind == "fenced" else upstream
