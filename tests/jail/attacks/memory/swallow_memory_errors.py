# any tier: cgroup_or_meter -> limit_exceeded memory_bytes
# Ask again and again, smaller and smaller, and hold what was given.
kept = []
size = 1 << 30
refused = 0
while size > 1 << 12 and refused < 200:
    try:
        kept.append(bytearray(b"x") * size)
    except MemoryError:
        refused += 1
        size //= 2
held = sum(map(len, kept))
kept.clear()
if held > MEMORY_BYTES:
    escaped(f"{held} bytes")
else:
    contained(MemoryError())
