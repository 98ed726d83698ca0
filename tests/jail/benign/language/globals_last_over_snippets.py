# uses: variables, imports, functions and classes of earlier snippets
# text: (3, 'B', 6.28)
import math as m

total = 1


class B:
    pass


def add(n):
    global total
    total += n
    return total
# %%
add(2)
# %%
total, B.__name__, round(m.tau, 2)
