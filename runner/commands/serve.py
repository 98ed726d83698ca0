"""`cellblock serve`: the HTTP server, until a signal ends it."""

import gc
import ipaddress
import socket
import sys

from runner.commands.options import ServeOptions
from runner.commands.printing.models_missing import NO_MODEL
from runner.config import Config, KeySettings
from runner.errors import ConfigError
from runner.kept_key import kept_key
from runner.models.directory import Directory
from runner.models.fallback import first_words, installed, or_embedded

EXIT_NO_MODEL = 3


def execute(options: ServeOptions) -> int:
    """Serve; the exit status. Raises ConfigError, PolicyError."""
    if options.print_config:
        from runner.commands.printing.example_config import example

        print(example(), end="")
        return 0
    loaded = Config.load(options.config)
    models = loaded.models if options.without_model else or_embedded(loaded.models)
    directory = Directory(models)
    if directory.is_empty and not options.without_model:
        print(NO_MODEL, file=sys.stderr)
        return EXIT_NO_MODEL
    for name, one in models.items():
        if one.kind == "embedded":
            installed(f"models.{name}.kind")
    if not loaded.models and not directory.is_empty:
        print(f"No model is configured: {directory.names[0]} answers.", file=sys.stderr)
        if words := first_words():
            print(words, file=sys.stderr)
    config = configured(loaded, options)
    policy = config.sandbox_policy()
    names = ", ".join(directory.names) or ("any" if not directory.is_empty else "none")
    reach = "no network" if policy.network == "none" else f"network: {', '.join(policy.network)}"
    print(f"Models: {names}. Code runs in tier {policy.tier}, {reach}.", file=sys.stderr)
    with listening(config.server.host, config.server.port) as listener:
        # A seventh of the time to load the server went to collections that found nothing.
        gc.disable()
        from runner.server.program import serve

        serve(config, directory, listener)
    return 0


def configured(config: Config, options: ServeOptions) -> Config:
    """`config` with the flags over it, and a key, which is printed when the owner named none.

    Raises ConfigError for a public address without keys of the owner's own.
    """
    update: dict[str, object] = {}
    if options.host is not None:
        update["host"] = options.host
    if options.port is not None:
        update["port"] = options.port
    config = config.model_copy(update={"server": config.server.model_copy(update=update)})
    given = config.given_keys()
    if not given and not is_loopback(config.server.host):
        raise ConfigError(
            "server.host",
            f"{config.server.host} can be reached from outside, and there are no keys",
            "Set CELLBLOCK_API_KEY or [[keys]] in the config, or listen on 127.0.0.1",
        )
    if not given:
        key, is_new = kept_key(config.server.data_path)
        config = config.model_copy(update={"keys": (KeySettings(key=key, admin=True),)})
        words = "made now and kept" if is_new else "kept from an earlier start"
        print(f"API key, {words} (cellblock key shows it): {key}", file=sys.stderr)
    return config


def listening(host: str, port: int) -> socket.socket:
    """Return a socket that listens there; port 0 takes any that is free. Raises ConfigError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        problem = f"cannot listen on {host} port {port}: {error.strerror}"
        raise ConfigError("server.port", problem, "Choose another with --port") from error


def is_loopback(host: str) -> bool:
    """Return whether only this machine can reach `host`."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
