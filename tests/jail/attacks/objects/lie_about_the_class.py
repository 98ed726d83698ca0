# any tier: protocol -> raised ValueError
# An instance that says it is a KeyboardInterrupt, with texts that are no str.
class Text(str):
    def __str__(self):
        return "x" * 10_000_000

    __repr__ = __format__ = encode = __str__


class Liar(ValueError):
    __class__ = KeyboardInterrupt
    __module__ = property(lambda self: 1 / 0)

    def __str__(self):
        return Text("lied")


Liar.__name__ = Liar.__qualname__ = "ValueError"
raise Liar
