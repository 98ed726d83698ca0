# namespaces: pid_namespace -> completed, own processes/ESRCH | landlock: landlock -> completed, own processes/EPERM/ESRCH
# kill(-1) reaches whatever the user may signal; SIGWINCH does no harm, and bait counts it.
import signal


def broadcast():
    os.kill(-1, signal.SIGWINCH)
    return HARMLESS


attempt(broadcast, harmless="own processes")
