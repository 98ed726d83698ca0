"""`cellblock env`: package environments that policies name."""

import time
from typing import TYPE_CHECKING

import click

from runner.commands.printing.helping import WholeHelp

if TYPE_CHECKING:
    from sandbox import PackageEnvironment

MiB = 1024 * 1024
STEPS = {
    "lock": "Choosing versions",
    "unpack": "Fetching and unpacking packages",
    "compile": "Compiling, in a jail",
}


@click.group("env", cls=WholeHelp)
def env_group() -> None:
    """Make and look at package environments, for `environment = "NAME"` in a policy."""


def sources(command: "click.decorators.FC") -> "click.decorators.FC":
    """Add the options that say where packages come from."""
    for option in (
        click.option("--index-url", metavar="URL", help="An index in place of PyPI."),
        click.option("--offline", is_flag=True, help="Use nothing but those, and uv's cache."),
        click.option(
            "--find-links",
            multiple=True,
            metavar="DIR",
            type=click.Path(exists=True, file_okay=False),
            help="A directory of wheels. May be repeated.",
        ),
    ):
        command = option(command)
    return command


@env_group.command("create")
@click.argument("name")
@click.option(
    "--with",
    "wanted",
    multiple=True,
    metavar="PACKAGE|FILE",
    help="A package, as in 'polars>=1', or a requirements file. May be repeated.",
)
@click.option(
    "--locked",
    metavar="FILE",
    type=click.Path(exists=True, dir_okay=False),
    help="A lock that `cellblock env lock` printed: exactly what it holds.",
)
@click.option("--build", is_flag=True, help="Build what has no wheel: runs its code, unjailed.")
@sources
def create_command(
    name: str,
    wanted: tuple[str, ...],
    locked: str | None,
    build: bool,
    find_links: tuple[str, ...],
    offline: bool,
    index_url: str | None,
) -> None:
    """Lock, fetch and unpack packages as the environment NAME. Wheels alone."""
    from runner.commands.printing.steps import Steps
    from sandbox import create_environment

    with Steps(STEPS) as steps:
        made = create_environment(
            name,
            [one for one in wanted if not _is_file(one)],
            files=[one for one in wanted if _is_file(one)],
            locked=locked,
            find_links=find_links,
            offline=offline,
            index_url=index_url,
            builds=build,
            on_progress=steps,
        )
    click.echo(f"{made.name}: {len(made.packages)} packages, {made.size_bytes / MiB:.1f} MiB")
    click.echo(f'Use it with environment = "{made.name}" in a policy.')


@env_group.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a line.")
def list_command(as_json: bool) -> None:
    """List the environments."""
    from sandbox import environments

    made = list(environments())
    if not made and not as_json:
        click.echo("There are none. `cellblock env create NAME --with PACKAGE` makes one.")
    for found in made:
        if as_json:
            click.echo(found.model_dump_json())
        else:
            click.echo(
                f"{found.name}\tPython {found.python[0]}.{found.python[1]}\t"
                f"{len(found.packages)} packages\t{found.size_bytes / MiB:.1f} MiB"
            )


@env_group.command("show")
@click.argument("name")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def show_command(name: str, as_json: bool) -> None:
    """Show what is in the environment NAME."""
    found = _found(name)
    if as_json:
        click.echo(found.model_dump_json())
        return
    made = time.strftime("%Y-%m-%d %H:%M", time.localtime(found.made_at))
    click.echo(f"{found.name}: Python {found.python[0]}.{found.python[1]}, made {made}")
    click.echo(f"asked for: {', '.join(found.requested) or 'a lock'}")
    for package, version in found.packages.items():
        click.echo(f"{package}=={version}")


@env_group.command("lock")
@click.argument("name")
def lock_command(name: str) -> None:
    """Print every package of the environment NAME with its hashes, for `create --locked`."""
    with open(_found(name).lock, encoding="utf-8") as stream:
        click.echo(stream.read(), nl=False)


@env_group.command("remove")
@click.argument("name")
def remove_command(name: str) -> None:
    """Remove the environment NAME. Sessions that run in it lose its packages."""
    from sandbox import remove_environment

    if not remove_environment(name):
        raise click.ClickException(f"There is no environment {name!r}.")
    click.echo(f"{name} is removed.")


def _found(name: str) -> "PackageEnvironment":
    from sandbox import find_environment

    found = find_environment(name)
    if found is None:
        raise click.ClickException(f"There is no environment {name!r}; see `cellblock env list`.")
    return found


def _is_file(wanted: str) -> bool:
    return wanted.endswith((".txt", ".in", ".lock")) or "/" in wanted
