# uses: reading and writing files, time zones of pandas, parsers in C
# out: ['2024-01-01 01:00:00+01:00', '2024-07-01 02:00:00+02:00']
# out: [3.0, nan]
import pandas as pd

open("in.csv", "w").write("when,value\n2024-01-01T00:00Z,1\n2024-07-01T00:00Z,2\n")
frame = pd.read_csv("in.csv", parse_dates=["when"])
print([str(when) for when in frame["when"].dt.tz_convert("Europe/Berlin")])
frame.to_csv("out.csv", index=False)
print(pd.read_csv("out.csv")["value"].rolling(2).sum().tolist()[::-1])
