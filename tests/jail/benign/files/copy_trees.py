# uses: copy_file_range, sendfile, xattrs, times and modes
# tiers: namespaces
# out: ['t/x', 't/x/1', 't/y'] 3 True
import glob
import os
import shutil

os.makedirs("s/x")
open("s/x/1", "w").write("one")
open("s/y", "w").write("y")
shutil.copytree("s", "t")
names = sorted(glob.glob("t/**/*", recursive=True))
shutil.move("t/x/1", "moved")
shutil.rmtree("t")
print(names, os.path.getsize("moved"), shutil.disk_usage(".").free > 0)
