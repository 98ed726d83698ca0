# any tier: file_reader -> completed
# A child swaps the file and a link to the host's file for as long as it lives: a process that
# checks first and opens then is caught between.
# get: swapped.txt -> honest or refused
# get: swapped.txt -> honest or refused
# get: swapped.txt -> honest or refused
# get: swapped.txt -> honest or refused
# get: swapped.txt -> honest or refused
# get: swapped.txt -> honest or refused
import time

open("honest.txt", "w").write("honest")
os.symlink(CANARY_FILE, "link.txt")
os.link("honest.txt", "swapped.txt")
if os.fork() == 0:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        for source in ("link.txt", "honest.txt"):
            os.link(source, "next.txt", follow_symlinks=False)
            os.rename("next.txt", "swapped.txt")
            if os.path.lexists("next.txt"):
                os.unlink("next.txt")
    os._exit(0)
