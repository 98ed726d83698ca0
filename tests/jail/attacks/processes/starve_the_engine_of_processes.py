# any tier: host -> completed or died *, next snippet
# The next snippet wants a copy of this process to fall back on; there may be none.
import resource

resource.setrlimit(resource.RLIMIT_NPROC, (1, 1))
# %%
contained("next snippet")
