# uses: futex waits with deadlines
# out: [3, 3, 3] fired
import threading

barrier, arrived, fired = threading.Barrier(3), [], threading.Event()


def meet():
    barrier.wait(10)
    arrived.append(barrier.parties)


threads = [threading.Thread(target=meet) for _ in range(3)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
timer = threading.Timer(0.01, fired.set)
timer.start()
print(arrived, "fired" if fired.wait(10) else "silent")
timer.join()
