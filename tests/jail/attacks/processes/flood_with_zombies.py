# any tier: rlimits -> completed or limit_exceeded processes, EAGAIN
# Dead children that no process waits for keep their numbers.
def flood():
    for _ in range(300):
        if os.fork() == 0:
            os._exit(0)
    return "300 zombies"


attempt(flood)
