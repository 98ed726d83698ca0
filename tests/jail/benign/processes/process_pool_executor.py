# uses: call queues, a management thread, wake-up pipes
# tiers: namespaces
# out: [1, 8, 27]
from concurrent.futures import ProcessPoolExecutor


def cube(x):
    return x**3


with ProcessPoolExecutor(2) as pool:
    print(list(pool.map(cube, [1, 2, 3])))
