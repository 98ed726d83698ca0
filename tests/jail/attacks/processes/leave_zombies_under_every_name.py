# any tier: rlimits -> completed or limit_exceeded processes, EAGAIN/RuntimeError
# fresh: 1 + 1 -> 2
# sibling: 6 * 7 -> 42
# First threads that have ended alone are zombies with a thread that runs, whatever they are called.
import threading
import time

EXIT = {"x86_64": 60, "aarch64": 93}[platform.machine()]


def leave():
    def work():
        time.sleep(20)
        os._exit(0)

    for number in range(200):
        if os.fork() == 0:
            LIBC.prctl(PR_SET_NAME, bytes([128 + number % 100, 10, 41, 32, 90]), 0, 0, 0)
            if number % 2:
                threading.Thread(target=work).start()
                LIBC.syscall(EXIT, 0)
            os._exit(0)
    return "200 zombies"


attempt(leave)
