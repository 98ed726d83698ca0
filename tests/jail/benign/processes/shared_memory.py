# uses: shm_open below /dev/shm, the resource tracker, exec of the interpreter
# tiers: namespaces
# out: [5, 7] True
from multiprocessing import Process
from multiprocessing.shared_memory import SharedMemory


def work(name):
    block = SharedMemory(name)
    block.buf[:2] = bytes([5, 7])
    block.close()


block = SharedMemory(create=True, size=16)
child = Process(target=work, args=(block.name,))
child.start()
child.join()
print(list(block.buf[:2]), child.exitcode == 0)
block.close()
block.unlink()
