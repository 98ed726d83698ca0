# any tier: rlimits -> died SIGABRT
# A core dump is a file that the kernel writes, or a program that it starts, on the host.
import resource

try:
    resource.setrlimit(resource.RLIMIT_CORE, (1 << 20, 1 << 20))
except (OSError, ValueError):
    os.abort()
escaped("the core limit was raised")
