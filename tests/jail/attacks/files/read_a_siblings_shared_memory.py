# namespaces: mount_namespace -> completed, ENOENT | landlock: landlock -> completed, ENOENT
# POSIX shared memory is a file below /dev/shm, and its name is known here.
from multiprocessing.shared_memory import SharedMemory

attempt(lambda: bytes(SharedMemory("cellblock-sibling").buf))
