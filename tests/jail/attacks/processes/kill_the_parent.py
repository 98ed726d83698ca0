# any tier: landlock -> completed, EPERM
# What started this process: if that dies, what ends the session?
import signal


def end_parent():
    os.kill(os.getppid(), signal.SIGKILL)
    return HARMLESS


attempt(end_parent, harmless="sent")
