# uses: small databases of the standard library
# tiers: namespaces
# out: {'a': [1, 2]} b'v'
import dbm.dumb
import shelve

with shelve.open("shelf") as shelf:
    shelf["a"] = [1, 2]
with shelve.open("shelf") as shelf:
    whole = dict(shelf)
with dbm.dumb.open("base", "c") as base:
    base["k"] = b"v"
    value = base["k"]
print(whole, value)
