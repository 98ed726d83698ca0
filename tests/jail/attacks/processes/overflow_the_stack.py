# any tier: host -> died SIGSEGV
# Recursion in C that Python's own limit does not see any more.
sys.setrecursionlimit(10**8)


class Deep:
    def __repr__(self):
        return repr([self])


repr(Deep())
