# uses: a semaphore and a feeder thread behind a queue
# tiers: namespaces
# out: hello from the child 0
from multiprocessing import Process, Queue


def work(queue):
    queue.put("hello from the child")


queue = Queue()
child = Process(target=work, args=(queue,))
child.start()
text = queue.get(timeout=10)
child.join()
print(text, child.exitcode)
