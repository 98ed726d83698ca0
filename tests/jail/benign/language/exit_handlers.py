# uses: atexit, unregister, finalizers
# out: finalized
import atexit
import weakref


class Thing:
    pass


atexit.register(print, "at exit")
atexit.unregister(print)
thing = Thing()
weakref.finalize(thing, print, "finalized")
del thing
