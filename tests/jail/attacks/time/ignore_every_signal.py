# any tier: host -> limit_exceeded wall_s
# Every signal that can be ignored, and blocked on top.
# limits: wall_s=0.2
import signal

for number in set(signal.Signals) - {signal.SIGKILL, signal.SIGSTOP}:
    signal.signal(number, signal.SIG_IGN)
signal.pthread_sigmask(signal.SIG_BLOCK, set(signal.Signals))
while True:
    pass
