# any tier: protocol -> raised OSError
# The number of an error is any object at all.
error = OSError("no number")
error.errno = -(10**5000)
error.strerror = b"\xff" * 1000
raise error
