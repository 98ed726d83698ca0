# uses: pandas after a fork: hash tables, string storage
# out: {'a': 4, 'b': 6}
# out: 2.5
import pandas as pd

frame = pd.DataFrame({"key": ["a", "b", "a", "b"], "value": [1, 2, 3, 4]})
print(frame.groupby("key")["value"].sum().to_dict())
print(frame["value"].mean())
