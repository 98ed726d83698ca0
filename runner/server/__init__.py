"""The HTTP server: three dialects of one loop, and the engine itself over REST."""
