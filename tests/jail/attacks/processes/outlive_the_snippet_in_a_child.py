# any tier: host -> completed, next snippet
# A child that holds the standard streams open: the end of a snippet is not the end of a pipe.
import time

if os.fork() == 0:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        time.sleep(0.5)
    os._exit(0)
# %%
contained("next snippet")
