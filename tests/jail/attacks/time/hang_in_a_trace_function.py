# any tier: host -> limit_exceeded wall_s
# A trace function runs inside whatever Python the engine runs next in this process.
# limits: wall_s=0.2
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
(lambda: None)()
