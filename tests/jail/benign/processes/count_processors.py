# uses: sched_getaffinity, sched_setaffinity to fewer, load of the machine
# out: True True 1
import os

available = os.sched_getaffinity(0)
print(os.cpu_count() >= 1, len(available) >= 1, end=" ")
os.sched_setaffinity(0, {min(available)})
print(len(os.sched_getaffinity(0)))
os.sched_setaffinity(0, available)
