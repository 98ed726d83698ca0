# any tier: protocol -> raised OSError
# An error says that the disk is full, and the host can see that it is not.
raise OSError(errno.ENOSPC, "No space left on device")
