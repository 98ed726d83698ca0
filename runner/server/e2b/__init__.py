"""E2B's protocol below `/e2b`: its own clients work with sessions of this server."""
