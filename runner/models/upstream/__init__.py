"""One tolerant reader of endpoints that speak Chat Completions, each in its own way."""
