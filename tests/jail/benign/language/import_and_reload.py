# uses: modules in the workspace, reload, time stamps of sources
# out: 1 22
import importlib
import sys

sys.path.insert(0, "")
open("helper.py", "w").write("VALUE = 1")
import helper

print(helper.VALUE, end=" ")
open("helper.py", "w").write("VALUE = 22")
print(importlib.reload(helper).VALUE)
