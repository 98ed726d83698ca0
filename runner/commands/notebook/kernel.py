"""`cellblock kernel`: notebooks whose code runs in a jail."""

import json
import os
import sys
from pathlib import Path

import click

from runner.commands.printing.helping import WholeHelp

POLICY_HELP = "The policy's name or file; the default one if not given."
START = Path(__file__).with_name("start.py")


@click.group("kernel", cls=WholeHelp)
def kernel_group() -> None:
    """Serve notebooks: Jupyter runs their code in a jail."""


@kernel_group.command("install")
@click.option("--policy", metavar="NAME|FILE", help=POLICY_HELP)
@click.option("--name", default="cellblock", metavar="NAME", help="What clients call the kernel.")
@click.option("--display-name", default="Python (Cellblock)", metavar="TEXT", help="In menus.")
@click.option("--prefix", metavar="DIRECTORY", help="An environment to install into.")
def install_command(policy: str | None, name: str, display_name: str, prefix: str | None) -> None:
    """Install the kernel's specification where Jupyter of this user looks for it.

    Exit status: 2 the policy or the name is none.
    """
    from runner.commands.policy import load

    if not name.replace("-", "").replace("_", "").replace(".", "").isalnum() or not name.isascii():
        raise click.UsageError(f"{name!r} is no name of a kernel: use letters, digits and -_.")
    if policy is not None:
        load(policy)
        if Path(policy).exists():
            # Clients start the kernel in folders of their own.
            policy = str(Path(policy).absolute())
    chosen = [] if policy is None else ["--policy", policy]
    specification = {
        # -P: it starts in the notebook's folder, whose files must not pass for its modules.
        # -S: it looks for installed packages itself, once it listens.
        "argv": [sys.executable, "-S", "-P", str(START), *chosen, "{connection_file}"],
        "display_name": display_name,
        "language": "python",
        "interrupt_mode": "message",
    }
    folder = _data_directory(prefix) / "kernels" / name
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "kernel.json").write_text(json.dumps(specification, indent=1) + "\n")
    except OSError as error:
        raise click.ClickException(f"{folder} cannot be written: {error.strerror}") from error
    click.echo(f"Installed the kernel {name} in {folder}")


@kernel_group.command("run")
@click.argument("connection_file", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--policy", metavar="NAME|FILE", help=POLICY_HELP)
def run_command(connection_file: Path, policy: str | None) -> None:
    """Serve a client, which wrote CONNECTION_FILE, until it ends the kernel."""
    from runner.commands.notebook.start import run
    from runner.commands.policy import load

    if policy is not None:
        load(policy)
    run(connection_file, policy)


def _data_directory(prefix: str | None) -> Path:
    """Where Jupyter looks: in an environment, in `JUPYTER_DATA_DIR`, in the user's own."""
    if prefix is not None:
        return Path(prefix).expanduser().absolute() / "share" / "jupyter"
    if named := os.environ.get("JUPYTER_DATA_DIR"):
        return Path(named).expanduser().absolute()
    data = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(data) / "jupyter"
