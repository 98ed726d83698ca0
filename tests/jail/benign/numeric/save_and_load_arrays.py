# uses: zip files with seeks, temporary files
# out: [[0 1 2] [3 4 5]] <U3
import numpy as np

np.savez_compressed("data.npz", a=np.arange(6).reshape(2, 3), b=np.array(["one", "two"]))
with np.load("data.npz") as data:
    print(str(data["a"]).replace("\n", ""), data["b"].dtype)
