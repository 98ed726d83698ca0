# any tier: capabilities -> completed, EPERM
# Take the read-only flag off the mounts that sessions share.
MS_REMOUNT, MS_BIND = 32, 4096


def remount(path):
    return lambda: call("mount", None, path, None, MS_REMOUNT | MS_BIND, None)


attempt(*map(remount, (b"/", b"/usr", sys.prefix.encode(), b"/proc")))
