# uses: an exception in the middle; what came before stays
# text: [1, 2]
items = [1]
try:
    items.append(2)
    items.append(1 / 0)
except ZeroDivisionError:
    pass
# %%
items
