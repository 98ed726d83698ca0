# uses: socket pairs between processes, in every tier
# out: 42 0
from multiprocessing import Pipe, Process


def work(end):
    end.send(end.recv() * 2)


near, far = Pipe()
child = Process(target=work, args=(far,))
child.start()
near.send(21)
answer = near.recv()
child.join()
print(answer, child.exitcode)
