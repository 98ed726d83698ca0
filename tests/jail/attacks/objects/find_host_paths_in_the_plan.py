# any tier: zygote -> completed, nothing
# The plan and the channel are in this process; neither names the embedding program or its files.
import gc

host = {HOST_DIRECTORY, os.path.dirname(CANARY_FILE)}
found = [
    text
    for item in gc.get_objects()
    for text in gc.get_referents(item)
    if isinstance(text, str) and any(text.startswith(path) for path in host)
]
known = {CANARY_FILE, WRITABLE_FILE, HOST_DIRECTORY, HOST_PROGRAM, SOCKET_FILE}
if strange := set(found) - known - host:
    escaped(strange)
else:
    contained("nothing")
