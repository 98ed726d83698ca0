# any tier: landlock -> completed, EPERM
# A stopped init would neither reap nor report.
import signal


def stop_parent():
    os.kill(os.getppid(), signal.SIGSTOP)
    return HARMLESS


attempt(stop_parent, harmless="sent")
