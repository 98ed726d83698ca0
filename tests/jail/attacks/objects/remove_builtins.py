# any tier: zygote -> died exit 70 or died exit 1 or completed or raised *
# No builtins at all.
# fresh: max(1, 2) -> 2
import builtins

vars(builtins).clear()
