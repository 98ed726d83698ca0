# uses: global generators that continue where the last snippet left them
# text: [True, True, False]
import random

import numpy as np

random.seed(7)
np.random.seed(7)
first = random.random(), np.random.rand()
# %%
second = random.random(), np.random.rand()
# %%
random.seed(7)
np.random.seed(7)
again = [(random.random(), np.random.rand()) for _ in range(2)]
[again[0] == first, again[1] == second, first == second]
