# any tier: protocol -> completed
# The code that reports on variables asks them for their length, shape and type.
class Sized:
    shape = property(lambda self: (10**5000, "x" * 1_000_000))
    nbytes = property(lambda self: 1 / 0)

    def __len__(self):
        raise SystemExit(3)

    def __sizeof__(self):
        return -1


class Meta(type):
    def __getattribute__(cls, name):
        raise KeyboardInterrupt


class Shown(metaclass=Meta):
    pass


sized, shown = Sized(), object.__new__(Shown)
