"""`cellblock completion`: what a shell needs to complete commands, options and files."""

import click
from click.shell_completion import get_completion_class

SHELLS = ("bash", "zsh", "fish")
VARIABLE = "_CELLBLOCK_COMPLETE"
"""What the shell sets when it asks `cellblock` for words; click derives it from the name."""


@click.command("completion")
@click.argument("shell", type=click.Choice(SHELLS))
@click.pass_context
def completion_command(context: click.Context, shell: str) -> None:
    """Print the completion script of SHELL.

    \b
    bash, in ~/.bashrc:                   source <(cellblock completion bash)
    zsh, in ~/.zshrc after compinit:      source <(cellblock completion zsh)
    fish, in ~/.config/fish/config.fish:  cellblock completion fish | source
    """
    kind = get_completion_class(shell)
    assert kind is not None
    click.echo(kind(context.find_root().command, {}, "cellblock", VARIABLE).source())
