# any tier: rlimits -> limit_exceeded memory_bytes
# One multiplication of a small object.
numbers = [0] * (1 << 30)
escaped(f"{len(numbers)} items")
