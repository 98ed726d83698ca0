"""One HTTP API a module, both directions, no I/O."""
