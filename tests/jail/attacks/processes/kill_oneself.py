# any tier: host -> died SIGKILL
# The same end as by the kernel's memory limit, but no limit was hit.
import signal

os.kill(os.getpid(), signal.SIGKILL)
