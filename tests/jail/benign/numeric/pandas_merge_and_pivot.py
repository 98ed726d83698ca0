# uses: joins, sorting, categorical data
# out: {'x': [1, 3], 'y': [10, 30]}
# out: [[4.0, 5.0], [9.0, 7.0]]
import pandas as pd

left = pd.DataFrame({"k": [1, 2, 3], "x": [1, 2, 3]})
right = pd.DataFrame({"k": [1, 3, 4], "y": [10, 30, 40]})
print(left.merge(right, on="k")[["x", "y"]].to_dict("list"))
table = pd.DataFrame({"r": list("aabb"), "c": list("xyxy"), "v": [4, 5, 9, 7]})
table = table.astype({"r": "category"})
print(table.pivot_table(index="r", columns="c", values="v", observed=True).values.tolist())
