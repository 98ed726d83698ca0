# uses: anonymous shared mappings in temporary files, process-shared locks
# tiers: namespaces
# out: 300
from multiprocessing import Lock, Process, Value


def add(total, lock):
    for _ in range(100):
        with lock:
            total.value += 1


total, lock = Value("i", 0, lock=False), Lock()
children = [Process(target=add, args=(total, lock)) for _ in range(3)]
for child in children:
    child.start()
for child in children:
    child.join()
print(total.value)
