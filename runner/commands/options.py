"""Options: the values of a command line, one object a command. It loads no other module."""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

Options = TypeVar("Options")


def taking(
    kind: Callable[..., Options],
) -> Callable[[Callable[[Options], None]], Callable[..., None]]:
    """Decorate a command's body, so that its options reach it as one `kind`.

    `kind` has a field for each argument and option of the command, by its name.
    """

    def decorate(body: Callable[[Options], None]) -> Callable[..., None]:
        @functools.wraps(body)
        def callback(**values: object) -> None:
            body(kind(**values))

        return callback

    return decorate


@dataclass(frozen=True)
class RunOptions:
    """What `cellblock run` is asked for. `timeout` is in seconds, `memory` in MiB."""

    file: str | None
    code: str | None
    as_json: bool
    timeout: float | None
    memory: int | None
    policy_file: str | None
    put: tuple[str, ...]
    get: tuple[str, ...]
    stdin: str | None
    explain: bool
    keep_going: bool
    report: Path | None
    log: Path | None
    network: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()
    find_links: tuple[str, ...] = ()
    offline: bool = False
    index_url: str | None = None


@dataclass(frozen=True)
class ChatOptions:
    """What `cellblock chat` is asked for. `session` names a file that a conversation goes on in."""

    question: str
    config: Path | None = None
    model: str = ""
    session: Path | None = None
    put: tuple[Path, ...] = ()
    images: Path | None = None
    as_json: bool = False


@dataclass(frozen=True)
class ServeOptions:
    """What `cellblock serve` is asked for; None leaves it to the config."""

    config: Path | None = None
    host: str | None = None
    port: int | None = None
    without_model: bool = False
    """Serve the engine over REST alone."""
    print_config: bool = False
