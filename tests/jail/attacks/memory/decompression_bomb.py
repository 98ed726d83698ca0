# any tier: cgroup_or_meter -> limit_exceeded memory_bytes
# Two gibibytes out of two mebibytes.
import gzip

packed = gzip.compress(bytes(64 << 20), 1) * 32
escaped(f"{len(gzip.decompress(packed))} bytes")
