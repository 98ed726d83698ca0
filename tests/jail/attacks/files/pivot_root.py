# any tier: capabilities -> completed, EPERM
# Swap the root for another directory.
attempt(lambda: call("pivot_root", b".", b"."))
