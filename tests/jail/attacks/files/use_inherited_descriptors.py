# any tier: descriptors -> completed, sockets only
# A directory or file that the engine left open would lead out, whatever the mounts are.
import stat

found = {}
for fd in range(3, 1024):
    try:
        mode = os.fstat(fd).st_mode
    except OSError:
        continue
    if not stat.S_ISSOCK(mode):
        found[fd] = stat.filemode(mode)
if found:
    escaped(found)
else:
    contained("sockets only")
