# any tier: zygote -> died exit 70 or died exit 1 or completed or raised *
# Builtins that lie, left behind for the next snippet.
# fresh: len("ab"), sum([1, 2]), repr(3), isinstance(4, int) -> (2, 3, '3', True)
# sibling: len("ab"), sum([1, 2]), repr(3), isinstance(4, int) -> (2, 3, '3', True)
import builtins

for name in ("len", "sum", "repr", "print", "isinstance", "open", "type", "getattr", "compile"):
    setattr(builtins, name, lambda *args, **kwargs: "patched")
