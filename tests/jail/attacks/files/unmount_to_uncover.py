# any tier: capabilities -> completed, EPERM
# Take away what is mounted on top to reach what it covers.
MNT_DETACH = 2
targets = (b"/proc", b"/tmp", b"/workspace", b"/dev/shm", b"/usr", b"/")
attempt(*(lambda path=path: call("umount2", path, MNT_DETACH) for path in targets))
