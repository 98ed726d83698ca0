# uses: LAPACK work arrays, mmap'd by size
# out: True True
import numpy as np

rng = np.random.default_rng(1)
m = rng.normal(size=(200, 200))
u, s, vt = np.linalg.svd(m)
x = np.linalg.solve(m, np.ones(200))
print(np.allclose(u * s @ vt, m), np.allclose(m @ x, 1))
