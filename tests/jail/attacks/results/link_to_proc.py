# any tier: file_reader -> completed
# Magic links mean something else to each process that follows them.
# get: environ.txt -> refused
# get: root -> refused
os.symlink("/proc/self/environ", "environ.txt")
os.symlink("/proc/self/root", "root")
