# uses: file-backed shared mappings, ftruncate, msync
# out: 499500.0 7.0
import numpy as np

array = np.memmap("array.dat", dtype="float64", mode="w+", shape=(1000,))
array[:] = np.arange(1000)
array.flush()
print(np.memmap("array.dat", dtype="float64", mode="r").sum(), np.fromfile("array.dat")[7])
