# any tier: host -> limit_exceeded wall_s
# Ten thousand signals a second, each of which starts a handler.
# limits: wall_s=0.2
import signal

signal.signal(signal.SIGALRM, lambda number, frame: None)
signal.signal(signal.SIGINT, signal.SIG_IGN)
signal.setitimer(signal.ITIMER_REAL, 0.0001, 0.0001)
while True:
    pass
