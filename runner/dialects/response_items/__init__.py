"""Output items of the Responses API: their stream, and those of MCP servers."""
