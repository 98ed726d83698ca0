# any tier: zygote -> completed, nothing
# Every object that the collector knows, and what these refer to.
import gc
import re

secret = re.compile("(canary|sibling):[0-9a-f]{32}")
found = set()
for item in gc.get_objects():
    for value in gc.get_referents(item):
        text = value.decode("latin-1") if isinstance(value, bytes) else value
        if isinstance(text, str) and secret.search(text):
            found.add(text[:200])
if found:
    escaped(found)
else:
    contained("nothing")
