# uses: the paths that hosted interpreters taught people to write
# tiers: namespaces
# out: same file True
# file: note.txt
import os

open("/workspace/note.txt", "w").write("same file")
print(open("/mnt/data/note.txt").read(), os.getcwd() == "/mnt/data")
