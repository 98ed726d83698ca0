# any tier: cgroup_or_meter -> completed or limit_exceeded memory_bytes, SIGKILL
# Each child stays below the limit of a process; together they are far above it.
import signal
import time

for _ in range(16):
    if os.fork() == 0:
        held = bytearray(b"x") * (60 << 20)
        time.sleep(1)
        os._exit(0)
endings = [os.waitstatus_to_exitcode(os.wait()[1]) for _ in range(16)]
if -signal.SIGKILL in endings:
    contained("SIGKILL")
else:
    escaped("16 children with 60 MiB each")
