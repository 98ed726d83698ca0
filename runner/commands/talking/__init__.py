"""A conversation at the terminal: what was said, which files are there, and where both are kept."""
