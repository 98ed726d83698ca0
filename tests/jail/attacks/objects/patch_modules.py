# any tier: zygote -> died exit 70 or died exit 1 or completed or raised *
# Modules that engine and snippets share.
# fresh: __import__("json").dumps([1]), __import__("os").getpid() > 0 -> ('[1]', True)
import io
import json
import struct
import traceback

for module in (json, os, struct, traceback, io):
    for name in list(vars(module)):
        if not name.startswith("__"):
            setattr(module, name, None)
