# any tier: zygote -> completed
# Small integers are shared by all code of a process: 41 becomes 99 in memory.
# fresh: 40 + 1 -> 41
# sibling: 40 + 1 -> 41
victim = 41
ctypes.c_uint32.from_address(id(victim) + 24).value = 99
