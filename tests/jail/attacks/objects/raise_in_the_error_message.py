# any tier: protocol -> raised Broken
# The exception cannot be told.
class Broken(Exception):
    def __str__(self):
        raise RuntimeError("no text")

    __repr__ = __str__


raise Broken
