# uses: eval() inside a library, JSON in C
# out: [{"a":2,"b":4},{"a":3,"b":9}] 26
import pandas as pd

frame = pd.DataFrame({"a": [1, 2, 3]})
frame = frame.eval("b = a * a").query("a > 1")
print(frame.to_json(orient="records"), (frame.a * frame.b).sum() - 9)
