# any tier: capabilities -> completed, EPERM
# Cover the libraries with files of one's own.
attempt(lambda: call("mount", b"none", b"/usr", b"tmpfs", 0, None))
