# uses: threads, locks, conditions, events
# out: [0, 1, 2, 3, 4, 5, 6, 7] done
import queue
import threading

todo, done = queue.Queue(), []
lock, finished = threading.Lock(), threading.Event()


def work():
    while (item := todo.get()) is not None:
        with lock:
            done.append(item)
    finished.set()


thread = threading.Thread(target=work, daemon=True)
thread.start()
for number in [*range(8), None]:
    todo.put(number)
finished.wait(10)
thread.join()
print(sorted(done), "done")
