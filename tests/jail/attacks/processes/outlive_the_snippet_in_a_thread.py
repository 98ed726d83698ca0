# any tier: host -> completed, next snippet
# A thread that writes and burns on after its snippet is over.
import threading
import time


def linger():
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        time.sleep(0.01)


threading.Thread(target=linger, daemon=True).start()
# %%
contained("next snippet")
