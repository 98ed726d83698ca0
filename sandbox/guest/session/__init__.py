"""The session process: compiles and runs snippets."""
