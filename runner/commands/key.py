"""`cellblock key`: shows the key that the server's clients send."""

from pathlib import Path

import click


@click.command("key")
@click.option(
    "--config",
    type=click.Path(exists=True, dir_okay=False, readable=True, path_type=Path),
    metavar="FILE.toml",
    help="The settings of the server.",
)
@click.option("--new", is_flag=True, help="Make another key; the old one is worth nothing then.")
def key_command(config: Path | None, new: bool) -> None:
    """Print the key of a server whose owner named none; the first call makes it.

    Exit status: 2 the config names keys of its own.
    """
    from runner.config import Config
    from runner.errors import ConfigError
    from runner.kept_key import kept_key, new_key

    loaded = Config.load(config)
    if loaded.given_keys():
        raise ConfigError("keys", "are set by the config or CELLBLOCK_API_KEY: those count")
    folder = loaded.server.data_path
    click.echo(new_key(folder) if new else kept_key(folder)[0])
