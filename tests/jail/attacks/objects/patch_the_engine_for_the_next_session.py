# any tier: zygote -> completed, patched
# What the engine does in this process may be changed; the next session comes from the zygote.
# fresh: 6 * 7 -> 42
import types

for name, module in list(sys.modules.items()):
    if name.startswith("sandbox."):
        for function in list(vars(module).values()):
            if isinstance(function, types.FunctionType) and not function.__closure__:
                if "pack" not in function.__name__:
                    function.__doc__ = "patched"
        vars(module)["PATCHED"] = True
contained("patched")
