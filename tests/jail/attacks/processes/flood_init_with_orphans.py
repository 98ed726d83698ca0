# any tier: host -> completed, reaped
# Orphans are init's to reap: 180 of them, of which no more than a few live at once.
for _ in range(60):
    middle = os.fork()
    if middle == 0:
        for _ in range(3):
            if os.fork() == 0:
                os._exit(0)
        os._exit(0)
    os.waitpid(middle, 0)
contained("reaped")
