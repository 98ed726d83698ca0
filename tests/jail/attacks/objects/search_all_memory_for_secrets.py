# any tier: zygote -> completed, nothing
# Freed blocks keep their bytes: search every page of this process for the engine's environment.
import re


def spans():
    try:
        lines = open("/proc/self/maps").read().splitlines()
    except OSError:
        return
    for line in lines:
        place, mode, *rest = line.split()
        if mode.startswith("r") and not line.endswith(("[vvar]", "[vsyscall]", "[vvar_vclock]")):
            start, end = (int(number, 16) for number in place.split("-"))
            if not rest[-1].startswith("/"):
                yield start, end - start


pattern = re.compile(b"CELLBLOCK" + b"_CANARY=[0-9a-z:-]{16,80}")
found = []
for start, size in spans():
    found += pattern.findall(ctypes.string_at(start, size))
if found:
    escaped(found)
else:
    contained("nothing")
