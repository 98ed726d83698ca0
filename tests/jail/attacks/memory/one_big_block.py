# any tier: rlimits -> limit_exceeded memory_bytes
# Eight gibibytes in one piece.
block = bytearray(8 << 30)
escaped(f"{len(block)} bytes")
