# any tier: host -> died SIGSEGV
# A null pointer.
ctypes.string_at(0)
