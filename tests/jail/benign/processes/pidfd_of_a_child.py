# uses: pidfd_open, poll on it, waitid
# out: True 7
import os
import select

pid = os.fork()
if pid == 0:
    os._exit(7)
fd = os.pidfd_open(pid)
ready, _, _ = select.select([fd], [], [], 10)
print(ready == [fd], os.waitid(os.P_PIDFD, fd, os.WEXITED).si_status)
os.close(fd)
