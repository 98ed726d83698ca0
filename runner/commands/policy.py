"""`cellblock policy`: shows, compares, learns and describes policies. Runs no snippet."""

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from runner.commands.printing.helping import WholeHelp

if TYPE_CHECKING:
    from sandbox import Policy

PLACE = click.argument("place", metavar="NAME|FILE.toml")
EXIT_WIDER = 1


@click.group("policy", cls=WholeHelp)
def policy_group() -> None:
    """Show, compare and learn policies: what a snippet may do."""


@policy_group.command("list")
def list_command() -> None:
    """List the policies that have a name."""
    from sandbox import PROFILES, Policy, allowed_beyond

    for name in PROFILES:
        beyond = len(allowed_beyond(Policy(), Policy.profile(name)))
        less = len(allowed_beyond(Policy.profile(name), Policy()))
        click.echo(f"{name:<14} allows {beyond} things more than the default, {less} less")


@policy_group.command("show")
@PLACE
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of TOML.")
def show_command(place: str, as_json: bool) -> None:
    """Print the whole policy that NAME or FILE.toml stands for, what it extends included."""
    import tomli_w

    table = load(place).model_dump(mode="json", exclude_none=True)
    click.echo(json.dumps(table) if as_json else tomli_w.dumps(table), nl=as_json)


@policy_group.command("diff")
@click.argument("base", metavar="A")
@click.argument("other", metavar="B")
@click.option("--json", "as_json", is_flag=True, help="Print the sentences as a JSON list.")
def diff_command(base: str, other: str, as_json: bool) -> None:
    """Say in words what B allows more than A.

    Exit status: 0 nothing, 1 something.
    """
    from sandbox import allowed_beyond

    found = allowed_beyond(load(base), load(other))
    if as_json:
        click.echo(json.dumps(found))
    elif found:
        click.echo("\n".join(found))
    else:
        click.echo(f"{other} allows nothing that {base} does not.")
    raise SystemExit(EXIT_WIDER if found else 0)


@policy_group.command("learn")
@click.argument("files", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False))
@click.option("--extends", metavar="NAME", default=None, help="A profile to start from.")
def learn_command(files: tuple[str, ...], extends: str | None) -> None:
    """Print the smallest policy under which FILES could import what they import. Runs nothing."""
    import tomli_w

    from sandbox import Policy, Sandbox

    modules: set[str] = set()
    with Sandbox(Policy(survive=False), pool_size=0) as box:
        for file in files:
            found = box.check(Path(file).read_text("utf-8", "replace"))
            if found.syntax_error:
                raise click.ClickException(f"{file} does not compile: {found.syntax_error}")
            modules |= {str(row[0]) for row in found.imports}
    click.echo(tomli_w.dumps(learned(modules, extends)), nl=False)


@policy_group.command("schema")
def schema_command() -> None:
    """Print the JSON schema of policy files."""
    from sandbox import Policy

    click.echo(json.dumps(Policy.file_schema(), indent=2))


def load(place: str) -> "Policy":
    """Return the policy that `place`, a name or a path, stands for. Raises PolicyError."""
    from sandbox import Policy

    if place == "default":
        return Policy()
    if place.endswith(".toml") or os.sep in place:
        return Policy.from_toml(place)
    return Policy.profile(place)


def learned(modules: set[str], extends: str | None) -> dict[str, Any]:
    """Return the table of a policy file that allows `modules` and no other."""
    from sandbox import ImportPolicy

    tops = sorted({module.partition(".")[0] for module in modules})
    rules = [
        {"pattern": pattern, "action": "allow", "reason": "a file that was learned from uses it"}
        for top in tops
        for pattern in (top, f"{top}.*")
    ]
    ImportPolicy.model_validate({"rules": rules, "default": "refuse"})
    table: dict[str, Any] = {"extends": extends} if extends is not None else {}
    return table | {"imports": {"default": "refuse", "rules": rules}}
