"""The command line. Each command's body is imported when it is used: help comes at once."""

import contextlib
import dataclasses
import errno
import functools
import os
import signal
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import click

from runner.commands.env import env_group, sources
from runner.commands.eval import eval_command
from runner.commands.key import key_command
from runner.commands.model import model_group
from runner.commands.notebook.kernel import kernel_group
from runner.commands.operate import audit_command, sessions_group, top_command
from runner.commands.options import ChatOptions, RunOptions, ServeOptions, taking
from runner.commands.policy import policy_group
from runner.commands.printing.completion import completion_command
from runner.commands.printing.helping import WholeHelp
from runner.commands.trace import trace_group

if TYPE_CHECKING:
    from sandbox import Limits, Policy

MiB = 1024 * 1024
EXIT_WRONG_USAGE = 2
EXIT_ENGINE_FAILED = 125
EXIT_INTERRUPTED = 128 + signal.SIGINT
EXIT_PIPE_CLOSED = 128 + signal.SIGPIPE
MISNAMED = (
    *(errno.ENOENT, errno.EACCES, errno.EPERM, errno.EISDIR, errno.ENOTDIR),
    *(errno.EEXIST, errno.ELOOP, errno.ENAMETOOLONG),
)
"""What the system says of a file where the name that was given is at fault."""

EXISTING = click.Path(exists=True, dir_okay=False, readable=True)
EXISTING_PATH = click.Path(exists=True, dir_okay=False, readable=True, path_type=Path)
ONE_SNIPPET = "Give one snippet: FILE, -c CODE, or - for standard input."
INPUT = click.Path(exists=True, dir_okay=False, readable=True, allow_dash=True)
SECONDS = click.FloatRange(min=0, min_open=True)
MEGABYTES = click.IntRange(min=16)
WRITABLE = click.Path(dir_okay=False, writable=True, path_type=Path)
DIRECTORY = click.Path(file_okay=False, path_type=Path)
CONFIG = click.option(
    "--config", type=EXISTING_PATH, metavar="FILE.toml", help="Models, keys, limits."
)


def _policy_place(_context: object, _parameter: object, value: str | None) -> str | None:
    """Refuse a policy file that is not there as wrong usage; names are looked up later."""
    is_file = value is not None and (value.endswith(".toml") or os.sep in value)
    if value is not None and is_file and not os.path.isfile(value):
        raise click.BadParameter(f"File {value!r} does not exist.")
    return value


POLICY = click.option(
    "--policy",
    "policy_file",
    metavar="NAME|FILE.toml",
    callback=_policy_place,
    help="What is allowed.",
)


@click.group(cls=WholeHelp, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="cellblock", prog_name="cellblock")
def commands() -> None:
    """Run Python in kernel-enforced jails: no Docker, no root, no KVM, no cloud."""


@commands.command()
@click.argument("file", type=INPUT, required=False)
@click.option("-c", "code", metavar="CODE", help="The snippet itself, in place of a file.")
@click.option("--json", "as_json", is_flag=True, help="Print the outcome as one JSON object.")
@click.option("--timeout", type=SECONDS, metavar="S", help="Seconds it may take.")
@click.option("--memory", type=MEGABYTES, metavar="MB", help="Memory it may use.")
@POLICY
@click.option(
    "--put",
    "put",
    multiple=True,
    type=click.Path(exists=True, readable=True),
    metavar="PATH",
    help="A file or directory of yours that the snippet finds in its own. May be repeated.",
)
@click.option(
    "--get",
    "get",
    multiple=True,
    metavar="PATH",
    help="A file that the snippet leaves, to be copied here. May be repeated.",
)
@click.option(
    "--stdin",
    type=INPUT,
    metavar="FILE",
    help="What the snippet reads as its standard input; - for this command's.",
)
@click.option("--explain", is_flag=True, help="Say on stderr what was tried and what held.")
@click.option(
    "--keep-going",
    is_flag=True,
    help="Run the next statement after one that raised, to see all that is tried.",
)
@click.option("--report", type=WRITABLE, metavar="FILE.md", help="Write the account as Markdown.")
@click.option(
    "--trace", "log", type=WRITABLE, metavar="FILE", help="Add the account to a hash-chained log."
)
@click.option(
    "--network",
    multiple=True,
    metavar="HOST:PORT",
    help="A host that it may reach beside the policy's, as in '*.example.com:443'.",
)
@click.option(
    "--with",
    "packages",
    multiple=True,
    metavar="PACKAGE",
    help="A package that the snippet has beside those here, as in 'humanize==4.*'.",
)
@sources
@taking(RunOptions)
def run(options: RunOptions) -> None:
    """Run one snippet: FILE, -c CODE, or - for standard input.

    Exit status: 0 completed, 1 raised, 2 wrong usage or a mistake in a policy, 124 over a limit,
    125 the engine failed or cannot isolate here, 126 refused by the policy, 130 interrupted by
    Ctrl-C, 137 died.
    """
    if (options.file is None) == (options.code is None):
        raise click.UsageError(ONE_SNIPPET)
    if options.file == options.stdin == "-":
        raise click.UsageError("Standard input cannot be both the snippet and what it reads.")
    with engine_errors():
        from runner.commands.run import RunRequest, execute

        policy = _policy(options.policy_file)
        stdin = options.stdin
        request = RunRequest(
            code=options.code if options.code is not None else _source(str(options.file)),
            policy=with_network(
                with_limits(policy, timeout_s=options.timeout, memory_mb=options.memory),
                options.network,
            ),
            script=os.path.basename(options.file) if options.file not in (None, "-") else "",
            stdin=_bytes(stdin).decode(errors="replace") if stdin is not None else None,
            put=options.put,
            get=options.get,
            as_json=options.as_json,
            explain=options.explain,
            keep_going=options.keep_going,
            report=options.report,
            log=options.log,
            packages=options.packages,
            find_links=options.find_links,
            offline=options.offline,
            index_url=options.index_url,
        )
        _leave(execute(request))


@commands.command()
@POLICY
def mcp(policy_file: str | None) -> None:
    """Serve the Model Context Protocol over standard input and output."""
    with engine_errors():
        from runner.commands.mcp import execute

        execute(_policy(policy_file))


@commands.command()
@click.argument("file", type=INPUT, required=False)
@click.option("-c", "code", metavar="CODE", help="The snippet itself, in place of a file.")
@click.option("--json", "as_json", is_flag=True, help="Print the findings as one JSON object.")
@click.option("--sarif", "as_sarif", is_flag=True, help="Print the findings as a SARIF log.")
@click.option(
    "--fail-on",
    type=click.Choice(["note", "warning", "danger"]),
    help="Exit with 1 for a finding that is as severe.",
)
@POLICY
def check(
    file: str | None,
    code: str | None,
    as_json: bool,
    as_sarif: bool,
    fail_on: str | None,
    policy_file: str | None,
) -> None:
    """Say what the snippet would import, what would be refused and what to look at.

    The snippet is FILE, -c CODE, or - for standard input.

    Runs nothing of it. Exit status: 0 nothing would be refused, 126 something would, 1 it is no
    Python or has what --fail-on names.
    """
    if (file is None) == (code is None):
        raise click.UsageError(ONE_SNIPPET)
    if as_json and as_sarif:
        raise click.UsageError("Give --json or --sarif, not both.")
    with engine_errors():
        from runner.commands.check import CheckRequest, execute

        request = CheckRequest(
            code=code if code is not None else _source(str(file)),
            policy=_policy(policy_file),
            file=file if file is not None else "-c",
            as_json=as_json,
            as_sarif=as_sarif,
            fail_on=fail_on,
        )
        _leave(execute(request))


@commands.command()
@click.option("--json", "as_json", is_flag=True, help="Print the report as one JSON object.")
@click.option("--packages", "all_packages", is_flag=True, help="Name every package of sessions.")
def doctor(as_json: bool, all_packages: bool) -> None:
    """Try which layers hold on this machine, and name the remedy for each gap.

    Exit status: 0 if the default tier is possible, else 125.
    """
    with engine_errors():
        from runner.doctor import exit_status, render, to_json
        from sandbox import environment_report, probe

        report, environment = probe(), environment_report()
        click.echo(
            f"{to_json(report, environment)}\n"
            if as_json
            else render(report, environment, colour=sys.stdout.isatty(), all_packages=all_packages),
            nl=False,
        )
        _leave(exit_status(report))


@commands.command()
@POLICY
@click.option(
    "--save",
    "directory",
    type=click.Path(file_okay=False),
    metavar="DIRECTORY",
    help="Where tables and plots go; a temporary directory if not given.",
)
def repl(policy_file: str | None, directory: str | None) -> None:
    """Open a session at the terminal: variables, imports and files persist."""
    with engine_errors():
        from runner.commands.repl import execute

        _leave(execute(_policy(policy_file), directory))


@commands.command()
@click.argument("question", default="")
@CONFIG
@click.option("--model", default="", metavar="NAME", help="A model of the config.")
@click.option("--session", type=WRITABLE, metavar="FILE", help="A conversation to go on with.")
@click.option("--put", multiple=True, type=EXISTING_PATH, metavar="PATH", help="A file to work on.")
@click.option("--images", type=DIRECTORY, metavar="DIRECTORY", help="Where plots go.")
@click.option("--json", "as_json", is_flag=True, help="Print events, one JSON object a line.")
@taking(ChatOptions)
def chat(options: ChatOptions) -> None:
    """Ask a model, let it run Python, and print what happens as it happens.

    Without a question it is a conversation: variables and files last, Ctrl-C stops an answer,
    /help lists commands. A question may also come from a pipe, and - stands for one.

    Exit status: 0 answered, 1 no answer, 2 bad config, 3 no model, 125 the engine failed.
    """
    with engine_errors(), _server_extra():
        import asyncio

        from runner.commands.chat import converse, execute

        if not options.question and sys.stdin.isatty():
            _leave(converse(options))
        if options.question in ("", "-"):
            options = dataclasses.replace(options, question=_asked_by_pipe())
        _leave(asyncio.run(execute(options)))


@commands.command()
@CONFIG
@click.option("--host", metavar="ADDRESS", help="Where to listen; this machine alone by default.")
@click.option("--port", type=click.IntRange(0, 65535), metavar="N", help="0 takes a free one.")
@click.option("--without-model", is_flag=True, help="Serve the engine over REST alone.")
@click.option("--print-config", is_flag=True, help="Print an example of a config, and end.")
@taking(ServeOptions)
def serve(options: ServeOptions) -> None:
    """Serve the OpenAI and DashScope dialects, and the engine itself, over HTTP.

    Exit status: 2 bad config, 3 no model, 125 the engine failed.
    """
    with engine_errors(), _server_extra():
        from runner.commands.serve import execute

        _leave(execute(options))


def _asked_by_pipe() -> str:
    """Return the question on standard input. Raises UsageError."""
    question = sys.stdin.buffer.read().decode(errors="replace").strip()
    if not question:
        raise click.UsageError("Name a question: on the command line, or on standard input.")
    return question


@contextlib.contextmanager
def _server_extra() -> Iterator[None]:
    """Say what to install where the packages of the orchestrator are missing; tell its errors."""
    from runner.errors import ConfigError, RunnerError

    try:
        yield
    except ModuleNotFoundError as error:
        from runner.extras import install_command

        missing = f"{error.name} is not installed. Run: {install_command('server')}"
        raise click.ClickException(missing) from error
    except ConfigError as error:
        _fail(error, EXIT_WRONG_USAGE)
    except RunnerError as error:
        _fail(error, 1)


def _telling_errors(command: click.Command) -> click.Command:
    """`command`, and all below it, with `engine_errors` and `_server_extra` around what it does."""
    if isinstance(command, click.Group):
        for below in command.commands.values():
            _telling_errors(below)
        return command
    body = command.callback
    assert body is not None

    @functools.wraps(body)
    def callback(*arguments: object, **options: object) -> object:
        with engine_errors(), _server_extra():
            return body(*arguments, **options)

    command.callback = callback
    return command


def main() -> NoReturn:
    """What `cellblock` and `python -m runner` do."""
    try:
        status = commands.main(prog_name="cellblock", standalone_mode=False)
    except click.exceptions.Abort:
        status = EXIT_INTERRUPTED
    except click.ClickException as error:
        error.show()
        status = error.exit_code
    except Exception:  # noqa: BLE001 - a fault of ours must not pose as the snippet's, status 1.
        traceback.print_exc()
        status = EXIT_ENGINE_FAILED
    sys.exit(status)


def with_limits(policy: "Policy", *, timeout_s: float | None, memory_mb: int | None) -> "Policy":
    """`policy` with the limits of the command line over its own. Raises PolicyError."""
    changes: dict[str, float] = {}
    if timeout_s is not None:
        changes["wall_s"] = timeout_s
        # Who asks for more time means time to compute in, unless the policy says otherwise.
        if "cpu_s" not in policy.limits.model_fields_set:
            changes["cpu_s"] = max(timeout_s, policy.limits.cpu_s)
    if memory_mb is not None:
        changes["memory_bytes"] = memory_mb * MiB
    if not changes:
        return policy
    limits: Limits = policy.limits.model_copy(update=changes)
    return policy.model_copy(update={"limits": limits})


def with_network(policy: "Policy", hosts: tuple[str, ...]) -> "Policy":
    """`policy` with `hosts` beside those that it names. Raises PolicyError."""
    if not hosts:
        return policy
    named = policy.network if policy.network != "none" else ()
    given = {name: getattr(policy, name) for name in policy.model_fields_set}
    return type(policy)(**{**given, "network": (*named, *hosts)})


@contextlib.contextmanager
def engine_errors() -> Iterator[None]:
    """Tell what the engine could not do in one line, and exit with its status."""
    from sandbox import PolicyError, SandboxError

    try:
        yield
    except PolicyError as error:
        _fail(error, EXIT_WRONG_USAGE)
    except SandboxError as error:
        _fail(error, EXIT_ENGINE_FAILED)
    except KeyboardInterrupt:
        _leave(EXIT_INTERRUPTED)
    except BrokenPipeError:
        from runner.terminal import drop

        drop(sys.stdout)
        _leave(EXIT_PIPE_CLOSED)
    except OSError as error:
        _fail_at_file(error)


def _policy(path: str | None) -> "Policy":
    from runner.commands.policy import load

    return load(path if path is not None else "default")


def _source(path: str) -> str:
    """The text of the snippet in `path`, in the encoding that it declares."""
    import io
    import tokenize

    data = _bytes(path)
    try:
        encoding, _lines = tokenize.detect_encoding(io.BytesIO(data).readline)
        return data.decode(encoding)
    except (SyntaxError, UnicodeDecodeError) as error:
        raise click.UsageError(f"{click.format_filename(path)} is no Python: {error}") from error


def _bytes(path: str) -> bytes:
    """All of the file `path`; - is this command's standard input."""
    if path == "-":
        return sys.stdin.buffer.read()
    with open(path, "rb") as stream:
        return stream.read()


def _fail(error: Exception, status: int) -> NoReturn:
    from runner.terminal import escaped

    click.echo(f"cellblock: {escaped(str(error))}", err=True)
    _leave(status)


def _fail_at_file(error: OSError) -> NoReturn:
    """Say which file could not be had and why; it is wrong usage where another name would help."""
    is_misnamed = error.filename is not None and error.errno in MISNAMED
    named = f"{os.fsdecode(error.filename)}: " if isinstance(error.filename, str | bytes) else ""
    remedy = ". Name a file that is there and that you may use" if is_misnamed else ""
    problem = f"{named}{error.strerror or error}{remedy}"
    _fail(OSError(problem), EXIT_WRONG_USAGE if is_misnamed else EXIT_ENGINE_FAILED)


def _leave(status: int) -> NoReturn:
    raise click.exceptions.Exit(status)


for _command in (
    *(eval_command, key_command, top_command, audit_command, sessions_group, model_group),
    *(policy_group, kernel_group, trace_group, env_group, completion_command),
):
    commands.add_command(_telling_errors(_command))
