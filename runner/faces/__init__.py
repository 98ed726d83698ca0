"""The engine inside other tools: each module is one protocol or framework, imported when used."""
