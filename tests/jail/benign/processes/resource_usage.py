# uses: getrusage, times, getrlimit, setrlimit downwards, getpriority, nice
# out: True True True True
import os
import resource

usage = resource.getrusage(resource.RUSAGE_SELF)
soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (soft - 1, hard))
print(
    usage.ru_maxrss > 0, os.times().elapsed > 0,
    resource.getrlimit(resource.RLIMIT_NOFILE)[0] == soft - 1,
    os.nice(1) - os.getpriority(os.PRIO_PROCESS, 0) == 0,
)
