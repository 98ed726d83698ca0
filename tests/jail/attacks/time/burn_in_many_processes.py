# any tier: host -> limit_exceeded cpu_s
# Each child stays below the limit; together they do not.
# limits: cpu_s=0.4
import signal

signal.signal(signal.SIGINT, signal.SIG_IGN)
for _ in range(8):
    if os.fork() == 0:
        break
while True:
    pass
