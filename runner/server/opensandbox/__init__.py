"""OpenSandbox's REST, as LiteLLM speaks it: a sandbox is a session of the server's table."""
