# any tier: host -> limit_exceeded wall_s
# A handler that one snippet leaves behind meets the interrupt of the next.
# limits: wall_s=0.2
import signal


def stick(number, frame):
    signal.signal(number, stick)


for number in (signal.SIGINT, signal.SIGTERM, signal.SIGXCPU):
    signal.signal(number, stick)
# %%
while True:
    pass
