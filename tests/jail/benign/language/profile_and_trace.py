# uses: sys.setprofile, settrace, cProfile
# out: True ['call', 'line', 'return']
import cProfile
import io
import pstats
import sys

events = []


def work():
    return 1


def trace(frame, event, argument):
    if frame.f_code is work.__code__:
        events.append(event)
    return trace


profile = cProfile.Profile()
profile.runcall(work)
text = io.StringIO()
pstats.Stats(profile, stream=text).print_stats()
sys.settrace(trace)
work()
sys.settrace(None)
print("work" in text.getvalue(), events)
