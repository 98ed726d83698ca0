# any tier: host -> died SIGKILL
# The copy to fall back on, stopped; then the original ends.
import signal

for pid in range(1, 64) if os.getpid() < 64 else [os.getppid()]:
    if pid != os.getpid():
        try:
            os.kill(pid, signal.SIGSTOP)
        except OSError:
            continue
os.kill(os.getpid(), signal.SIGKILL)
