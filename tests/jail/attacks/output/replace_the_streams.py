# any tier: protocol -> completed
# Stream objects that raise on every use.
class Broken:
    def __getattribute__(self, name):
        raise RuntimeError(name)


sys.stdout = sys.stderr = sys.__stdout__ = sys.__stderr__ = Broken()
