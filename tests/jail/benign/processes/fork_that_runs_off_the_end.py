# uses: a forked child that finishes the snippet as its parent does
# text: 'parent goes on'
import os

pid = os.fork()
if pid:
    os.waitpid(pid, 0)
# %%
"parent goes on"
