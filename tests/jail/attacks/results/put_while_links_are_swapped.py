# any tier: file_reader -> completed
# A directory and a link to the host's directory change places while the user writes.
# put: data/dropped -> written or refused
# put: data/dropped -> written or refused
# put: data/dropped -> written or refused
# put: data/dropped -> written or refused
# put: data/dropped -> written or refused
# put: data/dropped -> written or refused
import time

os.mkdir("data")
os.symlink(HOST_DIRECTORY, "link")
if os.fork() == 0:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        os.rename("data", "aside")
        os.rename("link", "data")
        os.rename("data", "link")
        os.rename("aside", "data")
    os._exit(0)
