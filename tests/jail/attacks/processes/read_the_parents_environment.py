# namespaces: pid_namespace -> completed, EACCES/ENOENT | landlock: landlock -> completed, EACCES
# The engine's own processes: launcher, zygote and init.
def environment(pid):
    def read():
        data = open(f"/proc/{pid}/environ", "rb").read()
        return data if b"CELLBLOCK_CANARY" in data else HARMLESS

    return read


attempt(*map(environment, {1, os.getppid(), os.getpid(), "self"}), harmless="nothing")
