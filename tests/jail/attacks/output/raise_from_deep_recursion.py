# any tier: protocol -> raised RecursionError
# A traceback of thousands of frames.
sys.setrecursionlimit(20_000)


def deeper(depth):
    return deeper(depth + 1)


deeper(0)
