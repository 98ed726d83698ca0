"""The orchestrator on top of the engine: models, tools, dialects, a server and the command line."""
