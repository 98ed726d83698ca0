# any tier: host -> completed or died *, next snippet
# The next snippet comes with a descriptor; there is no room for one.
import resource

resource.setrlimit(resource.RLIMIT_NOFILE, (len(channels()) + 3,) * 2)
# %%
contained("next snippet")
