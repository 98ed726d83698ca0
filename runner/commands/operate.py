"""`cellblock top`, `sessions` and `audit`: what an operator sees of a running server, and ends."""

import json
import os
import shlex
import time
import urllib.parse
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from runner.commands.printing.helping import WholeHelp
from runner.errors import ConfigError, RunnerError
from runner.terminal import escaped

if TYPE_CHECKING:
    from rich.table import Table

KEY_VARIABLE = "CELLBLOCK_ADMIN_KEY"
TIMEOUT_S = 10.0
ANSWER_BYTES = 8 * 1024 * 1024
MiB = 1024 * 1024
EXIT_BROKEN = 1
COLUMNS = ("session", "owner", "kind", "requests", "idle", "runs", "CPU", "memory", "last")


class ServerRefused(RunnerError):
    """The running server could not be asked, or said no; `status` is 0 without an answer."""

    def __init__(self, url: str, status: int, said: str) -> None:
        self.status = status
        super().__init__(f"{url}: {f'{status}: ' if status else ''}{said}")


class Server:
    """A running server, asked with an admin key."""

    def __init__(self, url: str, key: str) -> None:
        if urllib.parse.urlsplit(url).scheme not in ("http", "https"):
            raise ConfigError("--url", f"{url[:80]} is no http address")
        self.url = url.rstrip("/")
        self._key = key

    def ask(self, method: str, path: str) -> dict[str, Any]:
        """The JSON object that it answers. Raises ServerRefused."""
        # Imported here: they take longer to load than the help of every command.
        import urllib.error
        import urllib.request

        address = f"{self.url}/admin/{path}"
        request = urllib.request.Request(
            address, method=method, headers={"authorization": f"Bearer {self._key}"}
        )
        # Without a proxy: the key is for this server alone.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request, timeout=TIMEOUT_S) as reply:
                found = json.loads(reply.read(ANSWER_BYTES))
        except urllib.error.HTTPError as error:
            with error:
                said = _message(error.read(ANSWER_BYTES))
            raise ServerRefused(address, error.code, said) from error
        except (OSError, ValueError) as error:
            reason = getattr(error, "reason", error)
            said = f"{reason}. Does it run? Name another with --url."
            raise ServerRefused(address, 0, said) from error
        if not isinstance(found, dict):
            raise ServerRefused(address, 0, "the answer is no JSON object")
        return found


def _message(data: bytes) -> str:
    try:
        return str(json.loads(data)["error"]["message"])[:500]
    except (ValueError, KeyError, TypeError):
        return "no such door: is it a cellblock server, and as new as this command?"


def _server(config: Path | None, url: str | None) -> Server:
    """The server that the options name. Raises ConfigError."""
    from runner.config import Config
    from runner.kept_key import kept_key

    loaded = Config.load(config)
    key = os.environ.get(KEY_VARIABLE, "")
    if not key:
        key = next((one.secret for one in loaded.keys if one.admin and one.secret), "")
    if not key:
        if any(one.secret for one in loaded.keys):
            raise ConfigError(
                "keys", "none has `admin = true`", f"Set it for one, or {KEY_VARIABLE}"
            )
        key = kept_key(loaded.server.data_path)[0]
    host = loaded.server.host
    host = "127.0.0.1" if host in ("0.0.0.0", "::", "") else host
    shown = f"[{host}]" if ":" in host else host
    return Server(url or f"http://{shown}:{loaded.server.port}", key)


def _options(body: Callable[..., None]) -> Callable[..., None]:
    config = click.option(
        "--config",
        type=click.Path(exists=True, dir_okay=False, readable=True, path_type=Path),
        metavar="FILE.toml",
        help="The settings of the server.",
    )
    url = click.option("--url", metavar="URL", help="Where the server listens.")
    return config(url(body))


@click.command("top")
@_options
@click.option("--once", is_flag=True, help="Print it once, and end.")
@click.option("--every", type=click.FloatRange(min=0.2), default=2.0, metavar="S", help="Seconds.")
def top_command(config: Path | None, url: str | None, once: bool, every: float) -> None:
    """Watch the live sessions of a running server: by owner, with what their code has spent.

    CPU time and memory are of the snippets that have ended. Ctrl-C ends it.
    """
    from rich.console import Console, Group
    from rich.live import Live

    server = _server(config, url)

    def frame() -> Group:
        found = server.ask("GET", "sessions")
        return Group(_summary(found), _tenants(found), _table(found["data"]))

    console = Console(highlight=False, markup=False)
    if once or not console.is_terminal:
        console.print(frame())
        return
    with Live(frame(), console=console, screen=True, auto_refresh=False) as live:
        while True:
            time.sleep(every)
            live.update(frame(), refresh=True)


@click.group("sessions", cls=WholeHelp)
def sessions_group() -> None:
    """List, look at and end live sessions of a running server. Needs an admin key."""


@sessions_group.command("ls")
@_options
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def list_command(config: Path | None, url: str | None, as_json: bool) -> None:
    """List the live sessions of all keys."""
    from rich.console import Console

    found = _server(config, url).ask("GET", "sessions")
    if as_json:
        click.echo(json.dumps(found))
    else:
        console = Console(highlight=False, markup=False)
        table = _table(found["data"])
        # `inspect` and `kill` want whole ids: a narrow terminal wraps lines, and cuts none.
        console.width = max(console.width, console.measure(table).maximum)
        console.print(table if found["data"] else "No live sessions.")


@sessions_group.command("inspect")
@click.argument("session", metavar="ID")
@_options
def inspect_command(session: str, config: Path | None, url: str | None) -> None:
    """Print what is known of a session, as JSON; never what is in it."""
    found = _server(config, url).ask("GET", f"sessions/{urllib.parse.quote(session, safe='')}")
    click.echo(json.dumps(found, indent=2))


@sessions_group.command("kill")
@click.argument("sessions", metavar="ID...", nargs=-1, required=True)
@_options
def kill_command(sessions: tuple[str, ...], config: Path | None, url: str | None) -> None:
    """End sessions and the code that runs in them. Files of a container stay."""
    server = _server(config, url)
    for session in sessions:
        server.ask("DELETE", f"sessions/{urllib.parse.quote(session, safe='')}")
        click.echo(f"Ended {escaped(session)}.")


@click.command("audit")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
def audit_command(file: Path) -> None:
    """Check that no line of the audit log FILE was changed, taken out or put in.

    Lines that were cut off at its end are not noticed. Exit status: 0 whole, 1 broken.
    """
    from runner.commands.explaining import event_log
    from runner.server.live.audit_log import first_broken

    lines, broken = first_broken(file)
    if broken == 1 and event_log.is_log(file):
        name = escaped(str(file))
        verify = f"cellblock trace verify {shlex.quote(name)}"
        raise ConfigError(name, "is a trace log, and no audit log", f"Check it with: {verify}")
    if broken:
        click.echo(f"Line {broken} of {lines} breaks the chain.", err=True)
        raise click.exceptions.Exit(EXIT_BROKEN)
    click.echo(f"{lines} lines, and the chain is whole.")


# ---- what is printed ----------------------------------------------------------------------------


def _summary(found: Mapping[str, Any]) -> str:
    held = found["held"]
    kinds = ", ".join(f"{count} {escaped(str(kind))}" for kind, count in held.items())
    return f"Sessions: {sum(held.values())} of {found['most']} ({kinds}), {found['waiting']} wait"


def _tenants(found: Mapping[str, Any]) -> "Table":
    from rich.table import Table

    table = Table("owner", "sessions", "runs", "CPU", box=None)
    for owner, of in sorted(found["tenants"].items()):
        row = (owner, of["sessions"], of["runs"], f"{of['cpu_s']:.1f} s")
        table.add_row(*(escaped(str(cell)) for cell in row))
    return table


def _table(sessions: Sequence[Mapping[str, Any]]) -> "Table":
    from rich.table import Column, Table

    whole, *others = COLUMNS
    table = Table(Column(whole, no_wrap=True), *others, box=None)
    for one in sorted(sessions, key=lambda one: -float(one["cpu_s"])):
        row = (
            one["id"],
            one["owner"],
            one["kind"],
            one["requests"],
            f"{one['idle_s']:.0f} s",
            one["runs"],
            f"{one['cpu_s']:.1f} s",
            f"{one['peak_memory_bytes'] / MiB:.0f} MiB",
            one["last_status"],
        )
        table.add_row(*(escaped(str(cell)) for cell in row))
    return table
