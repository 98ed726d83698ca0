"""What the orchestrator could not do, or was wrongly asked to do.

What a snippet did is an `Outcome`, and what the engine failed to do a `SandboxError`; neither is
here. Each error keeps its facts as attributes and builds its message from them. Messages may
reach a client, so none holds a key, a host path or a host traceback.
"""

import re
from collections.abc import Mapping
from typing import Final, Literal


class RunnerError(Exception):
    """Base of every error that the orchestrator raises."""


class ConfigError(RunnerError, ValueError):
    """A setting is unknown, missing or contradictory. `field` is its dotted name."""

    def __init__(self, field: str, problem: str, remedy: str = "") -> None:
        self.field = field
        self.problem = problem
        self.remedy = remedy
        super().__init__(sentences(f"{field}: {problem}" if field else problem, remedy))


# ---- requests -----------------------------------------------------------------------------------

RequestFault = Literal[
    "invalid",
    "body",
    "key",
    "key_missing",
    "forbidden",
    "model_missing",
    "model_unknown",
    "not_found",
    "previous_response",
    "conflict",
    "too_large",
    "too_slow",
    "rate",
    "concurrency",
    "quota",
    "deadline",
    "file_refused",
    "file_not_found",
    "file_exists",
    "file_is_directory",
    "file_not_directory",
    "file_not_permitted",
    "file_no_room",
    "session_lost",
    "session_expired",
    "session_closed",
    "guest_fault",
    "copy_refused",
    "checkpoint_dropped",
]


class RequestError(RunnerError, ValueError):
    """A client asked for something that it cannot have; each dialect has its own words for it.

    `param` names the field at fault in the client's terms. `retry_after_s` is set when a later
    try may pass.
    """

    def __init__(
        self,
        fault: RequestFault,
        message: str,
        *,
        param: str | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        self.fault: RequestFault = fault
        self.message = message
        self.param = param
        self.retry_after_s = retry_after_s
        super().__init__(message)


StorageFault = Literal["full", "failed"]


class StorageError(RunnerError):
    """What the server keeps could not be written or read; `detail` is for the log."""

    def __init__(self, fault: StorageFault, detail: str = "") -> None:
        self.fault: StorageFault = fault
        self.detail = detail
        super().__init__(sentences(STORAGE_WORDS[fault], detail))

    @property
    def public(self) -> str:
        """What a client may read."""
        return sentences(STORAGE_WORDS[self.fault])


STORAGE_WORDS: dict[StorageFault, str] = {
    "full": "The server's disk is full",
    "failed": "The server cannot reach what it keeps",
}


class ServerStopping(RunnerError):
    """The server takes no more work."""

    def __init__(self) -> None:
        super().__init__("The server is stopping.")


class WebError(RunnerError):
    """A page or a search engine did not do its part; the message is for the model."""

    def __init__(self, problem: str) -> None:
        self.problem = problem
        super().__init__(sentences(problem))


# ---- models -------------------------------------------------------------------------------------

UpstreamFault = Literal["down", "slow", "cut", "garbled", "busy", "refused", "rejected", "failed"]


CONTEXT: Final = re.compile(
    r"context[_ -]?(?:length|size|window)|maximum context|max_model_len|too many (?:input )?tokens|"
    r"(?:prompt|input|conversation) is too long|range of input length|max(?:imum)? input (?:length|"
    r"tokens)",
    re.IGNORECASE,
)
"""Words of an endpoint for a conversation that is more than its model can hold."""


class UpstreamError(RunnerError):
    """The model's endpoint did not do its part.

    `fault`: "down" no connection, "slow" no bytes in time, "cut" ended in the middle of a turn,
    "garbled" sent what is no answer, "busy" asked to come later, "refused" does not accept this
    server's key, "rejected" called the request wrong, "failed" broke by itself. `detail` is for
    the log; a client is shown it where it is what the endpoint itself said (`is_said`), or what a
    rejected request needs to be mended. `answer` is all that the endpoint said, within bounds.
    """

    def __init__(
        self,
        fault: UpstreamFault,
        detail: str = "",
        *,
        status: int | None = None,
        retry_after_s: float | None = None,
        is_said: bool = False,
        answer: str = "",
    ) -> None:
        self.fault: UpstreamFault = fault
        self.detail = detail
        self.status = status
        self.retry_after_s = retry_after_s
        self.is_said = is_said
        self.answer = answer
        self.where = ""
        super().__init__(sentences(UPSTREAM_WORDS[fault], detail))

    def at(self, url: str, model: str) -> None:
        """Say where it happened, for the owner of this server: a client is not shown it."""
        self.where = f"It was asked at {url} for the model {model!r}"

    def __str__(self) -> str:
        """What the owner of this server may read: with the endpoint and what to try."""
        if not self.where:
            return sentences(UPSTREAM_WORDS[self.fault], self.detail)
        advice = UPSTREAM_404 if self.status == 404 else UPSTREAM_ADVICE[self.fault]
        return sentences(UPSTREAM_WORDS[self.fault], self.detail, self.where, advice)

    @property
    def is_too_long(self) -> bool:
        """Whether the endpoint says that the conversation does not fit its model."""
        is_about_it = CONTEXT.search(self.detail) or CONTEXT.search(self.answer)
        return self.fault == "rejected" and is_about_it is not None

    @property
    def public(self) -> str:
        """What a client may read."""
        if self.detail and (self.is_said or self.fault == "rejected"):
            return sentences(UPSTREAM_WORDS[self.fault], self.detail)
        return sentences(UPSTREAM_WORDS[self.fault])


UPSTREAM_WORDS: dict[UpstreamFault, str] = {
    "down": "The model's endpoint cannot be reached",
    "slow": "The model's endpoint sent nothing for too long",
    "cut": "The model's endpoint ended its answer in the middle",
    "garbled": "The model's endpoint sent something that is no answer",
    "busy": "The model's endpoint is busy",
    "refused": "The model's endpoint does not accept this server's credentials",
    "rejected": "The model's endpoint rejected the request",
    "failed": "The model's endpoint failed",
}


UPSTREAM_404 = (
    "Is that its base URL (most end with /v1), and does it have that model? Its own list is at"
    " /models below the URL"
)
UPSTREAM_ADVICE: dict[UpstreamFault, str] = {
    "down": "Is it running, and is that its base URL (CELLBLOCK_MODEL_URL, url in the config)?",
    "slow": "It may be loading the model: ask again",
    "cut": "Ask again; its own log says why it ended",
    "garbled": "Is that its base URL for Chat Completions? Most end with /v1",
    "busy": "Ask again later",
    "refused": "Set its key in CELLBLOCK_MODEL_KEY, or key_env in the config",
    "rejected": "",
    "failed": "Its own log says why",
}


class ReplayMismatch(RunnerError):
    """A request is not in the recording that should answer it. `diff` is to the nearest one."""

    def __init__(self, recording: str, diff: str) -> None:
        self.recording = recording
        self.diff = diff
        super().__init__(f"No exchange of {recording} answers this request. Nearest:\n{diff}")


class RecordingError(RunnerError, ValueError):
    """A line of a recording is not what a recorder writes."""

    def __init__(self, recording: str, line: int, problem: str) -> None:
        self.recording = recording
        self.line = line
        self.problem = problem
        super().__init__(sentences(f"{recording}:{line}: {problem}"))


class FetchFailed(RunnerError):
    """Weights could not be had. `problems` says of each source, or place, what was wrong."""

    def __init__(self, weights: str, problems: Mapping[str, str]) -> None:
        self.weights = weights
        self.problems = dict(problems)
        details = (
            f"{place}: {problem}" if problem else place for place, problem in problems.items()
        )
        super().__init__(sentences(f"{weights} could not be fetched", *details))


def sentences(*parts: str) -> str:
    """`parts` that are not empty, each closed by a full stop."""
    return " ".join(part if part[-1] in ".!?" else part + "." for part in parts if part)
