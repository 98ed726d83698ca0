# uses: pickling classes that a snippet defined, over two snippets
# text: [Point(x=1, y=2)]
import pickle
from dataclasses import dataclass


@dataclass(order=True)
class Point:
    x: int
    y: int = 2


open("points.pickle", "wb").write(pickle.dumps([Point(1)]))
# %%
pickle.load(open("points.pickle", "rb"))
