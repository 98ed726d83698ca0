# any tier: rlimits -> completed or limit_exceeded processes, RuntimeError
# Five hundred threads; threads count as processes.
import threading

stop = threading.Event()
threads = []


def bomb():
    for _ in range(500):
        thread = threading.Thread(target=stop.wait, args=(20,), daemon=True)
        thread.start()
        threads.append(thread)
    return f"{len(threads)} threads"


attempt(bomb)
stop.set()
for thread in threads:
    thread.join()
