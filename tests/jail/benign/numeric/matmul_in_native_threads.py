# uses: the native thread pool of a BLAS that was loaded before the fork
# out: True 512
import numpy as np

a = np.arange(512 * 512, dtype=float).reshape(512, 512) / 1e5
b = np.eye(512)
print(np.allclose(a @ b, a), (a @ a).shape[0])
