# any tier: seccomp -> completed, EPERM
# The newer mount calls need no path: a filter that knows only mount(2) misses them.
OPEN_TREE_CLONE = 1
attempt(
    lambda: call("fsopen", b"tmpfs", 0),
    lambda: call("fspick", -100, b"/", 0),
    lambda: call("open_tree", -100, b"/", OPEN_TREE_CLONE),
    lambda: call("move_mount", -100, b"/proc", -100, b"/tmp", 0),
)
