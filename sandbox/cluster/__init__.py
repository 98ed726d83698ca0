"""Sessions on a Ray cluster: each in a place of its own on some node, with the same calls."""
