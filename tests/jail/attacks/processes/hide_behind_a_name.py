# any tier: host -> limit_exceeded wall_s, harmless
# limits: wall_s=2
# fresh: 1 + 1 -> 2
# sibling: 6 * 7 -> 42
# Names that pass for other words of /proc; whoever has one is to end with the snippet all the same.
import signal

NAMES = (
    b"\xff\xfe", b"\x0bState:\tZ", b"\nState:\tZ", b"\rPPid:\t1", b") Z 1 1 1", b"(" * 15, b" ",
    b"\\nState:\\tX", b"\x85State:\tZ", b"\x1cTgid:\t1", b"\x80" * 15, b"init", b"1 (x) S 0",
)


def hide(name):
    def action():
        os.kill(os.getpid(), 0)  # A call that init answers, who looks at what this process is.
        if os.fork() == 0:
            LIBC.prctl(PR_SET_NAME, name, 0, 0, 0)
            for number in range(1, 31):
                if number not in (signal.SIGKILL, signal.SIGSTOP):
                    signal.signal(number, signal.SIG_IGN)
            signal.pause()
            os._exit(0)
        return HARMLESS

    return action


attempt(*map(hide, NAMES))
while True:
    try:
        signal.pause()
    except KeyboardInterrupt:
        pass
