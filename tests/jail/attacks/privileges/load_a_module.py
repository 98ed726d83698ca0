# any tier: seccomp -> completed, EPERM
# An empty module, a module from a file that is none, the removal of one that does not exist.
attempt(
    lambda: call("init_module", b"", 0, b""),
    lambda: call("finit_module", -1, b"", 0),
    lambda: call("delete_module", b"cellblock-no-such-module", 0),
)
