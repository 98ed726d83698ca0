# any tier: capabilities -> completed, EPERM/ENOSYS
# Swap the root for another directory.
attempt(lambda: call("pivot_root", b".", b"."))
