# uses: the rich display of a data frame
# shows: text/html
import pandas as pd

pd.DataFrame({"a": [1, 2]})
