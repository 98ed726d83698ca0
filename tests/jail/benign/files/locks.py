# uses: flock and record locks between own processes
# out: locked elsewhere, then free
import fcntl
import os

stream = open("lock", "w")
fcntl.lockf(stream, fcntl.LOCK_EX)
pid = os.fork()
if pid == 0:
    try:
        fcntl.lockf(open("lock", "w"), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os._exit(1)
    os._exit(0)
busy = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
fcntl.lockf(stream, fcntl.LOCK_UN)
print("locked elsewhere" if busy else "free", "then free", sep=", ")
