# uses: a server process with a socket in a temporary directory, HMAC keys
# tiers: namespaces
# out: {'a': 1} [1, 2]
from multiprocessing import Manager

with Manager() as manager:
    shared, numbers = manager.dict(), manager.list([1])
    shared["a"] = 1
    numbers.append(2)
    print(dict(shared), list(numbers))
