# uses: tracemalloc, gc, weakref, sys.getsizeof
# out: True True None
import gc
import tracemalloc
import weakref


class Node:
    pass


tracemalloc.start()
node = Node()
node.self = node
reference = weakref.ref(node)
alive = reference() is node
del node
gc.collect()
print(alive, tracemalloc.get_traced_memory()[1] > 0, reference())
tracemalloc.stop()
