"""Functions of the config's MCP servers, for every snippet of `serve` and `chat`."""

import importlib
import os
from collections.abc import Mapping
from typing import Any

from runner.config import McpSettings
from runner.errors import ConfigError, RunnerError
from runner.extras import install_command
from runner.tools.mcp_call import McpServer
from sandbox import HostTool


class McpFunctions:
    """Connections to servers, and their tools as functions by name."""

    def __init__(self, settings: Mapping[str, McpSettings]) -> None:
        """Connect to each. Raises ConfigError that names the server."""
        self._open: list[Any] = []
        self._in_snippets: list[Any] = []
        self.functions: dict[str, HostTool] = {}
        self.servers: dict[str, tuple[McpServer, McpSettings]] = {}
        """Each by its name in the config, for responses that name it."""
        try:
            for name, one in settings.items():
                self._add(f"mcp.{name}", one)
        except BaseException:
            self.close()
            raise

    @property
    def described(self) -> str:
        """What a model is told of them; empty where there are none."""
        lines = "\n".join(tools.described for tools in self._in_snippets)
        return f" These functions are there too, without an import:\n{lines}" if lines else ""

    def close(self) -> None:
        """End the connections, and the servers that were started. May be called again."""
        while self._open:
            self._open.pop().close_now()

    def _add(self, field: str, settings: McpSettings) -> None:
        if bool(settings.url) == bool(settings.command):
            raise ConfigError(field, "needs either a url or a command")
        headers = dict(settings.headers)
        for header, variable in settings.headers_env.items():
            if not (value := os.environ.get(variable)):
                raise ConfigError(f"{field}.headers_env", f"{variable} is not set")
            headers[header] = value
        try:
            client: Any = importlib.import_module("runner.faces.mcp_client")
        except ModuleNotFoundError as error:
            raise ConfigError(
                field, f"{error.name} is not installed", f"Run: {install_command('mcp')}"
            ) from None
        try:
            tools = client.mcp_tools_now(
                settings.url or settings.command,
                headers=headers,
                env=dict(settings.env) or None,
                allowed=settings.tools or None,
                prefix=settings.prefix,
                timeout_s=settings.timeout_s,
                max_calls=settings.max_calls,
            )
        except RunnerError as error:
            raise ConfigError(field, str(error).removesuffix(".")) from error
        self._open.append(tools)
        self.servers[field.removeprefix("mcp.")] = (tools, settings)
        if not settings.in_snippets:
            return
        if twice := sorted(tools.keys() & self.functions.keys()):
            raise ConfigError(
                field, f"has {', '.join(twice)} as another server does", "Set a prefix"
            )
        self._in_snippets.append(tools)
        self.functions |= tools
