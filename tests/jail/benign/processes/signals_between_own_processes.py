# uses: kill, sigwait, SIGCHLD
# out: SIGUSR1 -15
import os
import signal

signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
pid = os.fork()
if pid == 0:
    os.kill(os.getppid(), signal.SIGUSR1)
    signal.pause()
    os._exit(0)
got = signal.sigwait([signal.SIGUSR1])
os.kill(pid, signal.SIGTERM)
print(signal.Signals(got).name, os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
