"""`python -S -P .../start.py [--policy NAME|FILE] CONNECTION_FILE`: a kernel, as Jupyter starts it.

A notebook's client connects some 13 ms after it has started the kernel. If nothing listens then,
it tries again 100 to 200 ms later. So the kernel listens before all else, even before Python has
looked for installed packages (`-S`); connections wait until ZMQ takes the sockets over.
`cellblock kernel run` is the same by hand.
"""

import sys
from _socket import AF_INET, SO_REUSEADDR, SOCK_STREAM, SOL_SOCKET, SocketType

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pathlib import Path

    from sandbox import Policy

INSTALL = "pip install 'pyzmq>=26'"
WRONG_USAGE = 2
HOST = "127.0.0.1"
FILE_CAP_CHARS = 64 * 1024
BACKLOG = 100


def listening_at(connection_file: str) -> dict[str, SocketType]:
    """Sockets that listen where `connection_file` says, by address; none where that is not plain.

    It looks for the ports without reading the file as JSON, which takes 8 ms to import: what is no
    port here is told when the file is read.
    """
    try:
        with open(connection_file, encoding="utf-8", errors="replace") as file:
            text = file.read(FILE_CAP_CHARS)
    except OSError:
        return {}
    if _after(text, "ip").strip('"') != HOST or _after(text, "transport").strip('"') != "tcp":
        return {}
    made: dict[str, SocketType] = {}
    for channel in ("shell", "iopub", "control", "stdin", "hb"):
        port = _after(text, f"{channel}_port")
        if not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
            continue
        listener = SocketType(AF_INET, SOCK_STREAM)
        try:
            # As ZMQ opens them, so that a kernel that restarts has its ports again.
            listener.setsockopt(SOL_SOCKET, SO_REUSEADDR, 1)
            listener.bind((HOST, int(port)))
            listener.listen(BACKLOG)
            listener.setblocking(False)
        except OSError:
            # ZMQ tries again, and says what is wrong.
            listener.close()
            continue
        made[f"tcp://{HOST}:{port}"] = listener
    return made


def _after(text: str, name: str) -> str:
    """The plain value of a field of a flat JSON object."""
    return text.partition(f'"{name}":')[2].lstrip().partition(",")[0].rstrip(" \r\n\t}")


def run(
    connection_file: "Path", policy: str | None, listening: dict[str, SocketType] | None = None
) -> None:
    """Serve a client until it ends the kernel. Raises ConfigError."""
    from runner.errors import ConfigError

    try:
        from runner.faces.jupyter.opening import ConnectionFile, OpenKernel
    except ModuleNotFoundError as error:
        if error.name != "zmq":
            raise
        raise ConfigError("pyzmq", "the package is not installed", INSTALL) from None

    opened = OpenKernel.open(ConnectionFile.read(connection_file), listening)
    try:
        waiting = opened.answer_first()
        import asyncio

        from runner.faces.jupyter.zmq_kernel import serve

        def load_policy() -> "Policy":
            from runner.commands.policy import load

            return load(policy or "default")

        asyncio.run(serve(load_policy, opened, waiting))
    finally:
        opened.close()


def main(arguments: list[str]) -> int:
    """Run with the arguments of a specification; the exit status."""
    policy = None
    if len(arguments) == 3 and arguments[0] == "--policy":
        policy = arguments[1]
        del arguments[:2]
    if len(arguments) != 1:
        print(__doc__, file=sys.stderr)
        return WRONG_USAGE
    listening = listening_at(arguments[0])
    if sys.flags.no_site:
        import site

        site.main()
    from pathlib import Path

    from runner.errors import ConfigError

    try:
        run(Path(arguments[0]), policy, listening)
    except ConfigError as error:
        print(error, file=sys.stderr)
        return WRONG_USAGE
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
