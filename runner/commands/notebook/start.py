"""`python -m runner.commands.notebook.start [--policy NAME|FILE] CONNECTION_FILE`: a kernel.

What a kernel's specification starts: it imports no more than it takes to say what it is, for a
notebook waits for that. `cellblock kernel run` is the same by hand.
"""

import asyncio
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from runner.errors import ConfigError

if TYPE_CHECKING:
    from sandbox import Policy

INSTALL = "pip install 'pyzmq>=26'"
WRONG_USAGE = 2


def run(connection_file: Path, policy: str | None) -> None:
    """Serve a client until it ends the kernel. Raises ConfigError."""
    try:
        from runner.faces.jupyter.zmq_kernel import ConnectionFile, serve
    except ModuleNotFoundError as error:
        if error.name != "zmq":
            raise
        raise ConfigError("pyzmq", "the package is not installed", INSTALL) from None

    def load_policy() -> "Policy":
        from runner.commands.policy import load

        return load(policy or "default")

    asyncio.run(serve(load_policy, ConnectionFile.read(connection_file)))


def main(arguments: list[str]) -> int:
    """Run with the arguments of a specification; the exit status."""
    policy = None
    if len(arguments) == 3 and arguments[0] == "--policy":
        policy = arguments[1]
        del arguments[:2]
    if len(arguments) != 1:
        print(__doc__, file=sys.stderr)
        return WRONG_USAGE
    try:
        run(Path(arguments[0]), policy)
    except ConfigError as error:
        print(error, file=sys.stderr)
        return WRONG_USAGE
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
