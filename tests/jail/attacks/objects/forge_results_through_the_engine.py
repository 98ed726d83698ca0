# any tier: zygote -> completed
# The engine's own functions, replaced by ones that claim another echo: a session may lie about
# itself, and about no other.
# fresh: 6 * 7 -> 42
# sibling: 6 * 7 -> 42
import types

for name, module in list(sys.modules.items()):
    if name.startswith("sandbox.guest.session.snippet"):
        for value in list(vars(module).values()):
            if isinstance(value, types.FunctionType) and "echo" in value.__name__:
                value.__code__ = (lambda *args, **kwargs: "forged").__code__
