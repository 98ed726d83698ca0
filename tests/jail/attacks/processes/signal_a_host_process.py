# namespaces: pid_namespace -> completed, ESRCH | landlock: landlock -> completed, EPERM
# A process of the host that may even have the same user.
# bare: escapes
import signal

attempt(lambda: os.kill(VICTIM_PID, signal.SIGUSR1) or "delivered")
