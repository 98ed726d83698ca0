# any tier: host -> limit_exceeded cpu_s
# The time of children that are gone is hard to see for a look at processes.
# limits: cpu_s=0.4
import signal

signal.signal(signal.SIGINT, signal.SIG_IGN)
while True:
    pid = os.fork()
    if pid == 0:
        sum(range(200_000))
        os._exit(0)
    os.waitpid(pid, 0)
