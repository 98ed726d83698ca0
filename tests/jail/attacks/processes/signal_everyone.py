# any tier: landlock -> completed, own processes
# kill(-1) reaches whatever the user may signal; SIGWINCH does no harm, and bait counts it.
import signal


def broadcast():
    os.kill(-1, signal.SIGWINCH)
    return HARMLESS


attempt(broadcast, harmless="own processes")
