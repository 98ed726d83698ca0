# any tier: file_reader -> completed
# A thousand levels: the path is longer than a path may be, and recursion ends before the tree.
for _ in range(1000):
    os.mkdir("down" * 10)
    os.chdir("down" * 10)
open("bottom.txt", "w").write("bottom")
