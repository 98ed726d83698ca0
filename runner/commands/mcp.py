"""`cellblock mcp`: the Model Context Protocol over standard input and output."""

import asyncio

import click

from sandbox import Policy

INSTALL = "pip install 'mcp>=2.3'"


def execute(policy: Policy) -> None:
    """Serve until standard input ends."""
    try:
        from runner.faces.mcp import make_server
        from runner.faces.mcp_stdio import serve
    except ModuleNotFoundError as error:
        if error.name not in ("mcp", "mcp_types"):
            raise
        raise click.ClickException(f"the package mcp is not installed: {INSTALL}") from None
    asyncio.run(serve(make_server(policy)))
