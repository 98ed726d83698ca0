# any tier: protocol -> completed, next snippet
# A trace function that never comes back, left behind for the engine's own code.
import threading


def trace(frame, event, argument):
    while True:
        try:
            while True:
                pass
        except BaseException:
            continue


threading.settrace(trace)
sys.settrace(trace)
# %%
contained("next snippet")
