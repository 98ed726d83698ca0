# namespaces: pid_namespace -> completed, ESRCH | landlock: seccomp -> completed, ESRCH
# A pidfd is a second way to send a signal.
# bare: escapes
import signal


def send():
    signal.pidfd_send_signal(os.pidfd_open(VICTIM_PID), signal.SIGUSR1)
    return "delivered"


attempt(send)
