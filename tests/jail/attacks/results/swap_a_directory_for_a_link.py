# any tier: file_reader -> completed
# The same one level up.
# get: folder/canary.txt -> honest or refused
# get: folder/canary.txt -> honest or refused
# get: folder/canary.txt -> honest or refused
# get: folder/canary.txt -> honest or refused
import time

os.mkdir("honest")
open("honest/canary.txt", "w").write("honest")
os.symlink(os.path.dirname(CANARY_FILE), "evil")
os.rename("honest", "folder")
if os.fork() == 0:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        os.rename("folder", "aside")
        os.rename("evil", "folder")
        os.rename("folder", "evil")
        os.rename("aside", "folder")
    os._exit(0)
