"""Paths: the base paths under which the OpenAI routes are served."""

BASES = ("/v1", "/compatible-mode/v1", "/api/v2/apps/protocols/compatible-mode/v1")
