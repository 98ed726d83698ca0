"""`cellblock policy`: shows, compares, learns and describes policies. Runs no snippet."""

import difflib
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from runner.commands.printing.helping import WholeHelp

if TYPE_CHECKING:
    from sandbox import Policy, PolicyError

DEFAULT = "default"
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

    from sandbox import PROFILES, Policy, Sandbox

    if extends is not None and extends not in PROFILES and not extends.endswith(".toml"):
        raise _no_policy(extends, list(PROFILES))
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
    from sandbox import PROFILES, Policy

    if place == DEFAULT:
        return Policy()
    if place in PROFILES:
        return Policy.profile(place)
    if place.endswith(".toml") or os.sep in place:
        return Policy.from_toml(place)
    raise _no_policy(place, [DEFAULT, *PROFILES])


def _no_policy(place: str, names: list[str]) -> "PolicyError":
    """What to say of a name that no policy has: what it is, or which was meant."""
    from sandbox import PolicyError

    if _is_preset(place):
        near = [name for name in names if name.startswith(f"{place}-")]
        remedy = f'In a FILE.toml, write: imports = "{place}"'
        remedy += "".join(f". The policy {name} has it" for name in near)
        return PolicyError("policy", f"{place!r} is a preset of `imports`, and no policy", remedy)
    if os.path.isfile(place):
        return PolicyError("policy", f"{place!r} is no name of one", f"For the file: ./{place}")
    words = {word: name for name in names for word in (*name.split("-"), name)}
    near = difflib.get_close_matches(place, words, n=1)
    guess = f"Did you mean {words[near[0]]!r}? " if near else ""
    remedy = f"{guess}Give {', '.join(names)}, or a FILE.toml"
    return PolicyError("policy", f"none is named {place!r}", remedy)


def _is_preset(name: str) -> bool:
    from sandbox import Policy, PolicyError

    try:
        Policy.model_validate({"imports": name})
    except PolicyError:
        return False
    return True


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
