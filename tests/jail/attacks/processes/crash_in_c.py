# any tier: supervisor -> died SIGSEGV
# A null pointer.
ctypes.string_at(0)
