# any tier: rlimits -> limit_exceeded memory_bytes
# Four gibibytes of digits from one shift.
number = 1 << (32 << 30)
escaped(f"{number.bit_length()} bits")
