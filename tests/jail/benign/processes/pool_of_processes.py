# uses: fork, pipes, semaphores of multiprocessing
# tiers: namespaces
# out: [0, 1, 4, 9, 16, 25]
from multiprocessing import Pool


def square(x):
    return x * x


with Pool(3) as pool:
    print(pool.map(square, range(6)))
