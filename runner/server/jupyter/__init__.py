"""Jupyter's REST and WebSocket: kernels, each a session of the key that made it."""
