# any tier: host -> limit_exceeded cpu_s
# SIGXCPU ignored, and the kernel's own limit pushed as far as it goes.
# limits: cpu_s=0.3
import resource
import signal

signal.signal(signal.SIGXCPU, signal.SIG_IGN)
signal.signal(signal.SIGINT, signal.SIG_IGN)
_soft, hard = resource.getrlimit(resource.RLIMIT_CPU)
resource.setrlimit(resource.RLIMIT_CPU, (hard, hard))
while True:
    pass
