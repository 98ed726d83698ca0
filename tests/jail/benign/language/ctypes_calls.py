# uses: libffi closures, dlopen, callbacks from C
# out: 5 [1, 2, 3] 3.0
import ctypes
import ctypes.util

libc = ctypes.CDLL(None)
compare = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_int), ctypes.POINTER(ctypes.c_int))
numbers = (ctypes.c_int * 3)(3, 1, 2)
libc.qsort(numbers, 3, 4, compare(lambda a, b: a[0] - b[0]))
libm = ctypes.CDLL("libm.so.6")
libm.sqrt.restype, libm.sqrt.argtypes = ctypes.c_double, [ctypes.c_double]
print(libc.strlen(b"hello"), list(numbers), libm.sqrt(9.0))
