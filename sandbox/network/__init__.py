"""The network by name: rules, a proxy on the host, secrets that never enter the jail."""
