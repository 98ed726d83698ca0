# uses: Python threads that call native code without the lock
# out: 8000000
from concurrent.futures import ThreadPoolExecutor

import numpy as np

array = np.ones((8, 1_000_000), dtype=np.int64)
with ThreadPoolExecutor(4) as pool:
    print(sum(pool.map(lambda row: int(array[row].sum()), range(8))))
