"""Parsers of what a guest, a client or a page sends, fuzzed: `python -m tests.fuzz --help`."""
