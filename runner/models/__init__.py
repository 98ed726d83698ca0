"""Upstreams behind one port: each module is one way to ask a model for its next turn."""
