# any tier: cgroup_or_meter -> limit_exceeded memory_bytes
# Ten kibibytes at a time, up to four gibibytes.
kept = []
for _ in range(400_000):
    kept.append(bytearray(b"x") * 10_000)
escaped(f"{len(kept)} blocks")
