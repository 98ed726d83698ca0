# uses: a recursion limit raised by the program, stack to go with it
# out: 5000
import sys

sys.setrecursionlimit(20_000)


def depth(n):
    return n if n == 5000 else depth(n + 1)


print(depth(0))
sys.setrecursionlimit(1000)
