# uses: linecache entries for snippets, also for those that are over
# out: def double(x):
# out:     return x * 2
def double(x):
    return x * 2
# %%
import inspect

print(inspect.getsource(double).rstrip())
