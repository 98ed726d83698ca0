# any tier: file_reader -> completed, closed/EPERM
# A directory without a name, in which nothing can be made.
# get: gone.txt -> refused
import shutil

for name in os.listdir("."):
    shutil.rmtree(name, ignore_errors=True)
attempt(lambda: os.chmod(".", 0) or HARMLESS, harmless="closed")
