# namespaces: mount_namespace -> completed, ENOENT | landlock: landlock -> completed, EACCES/ENOENT
# A release_agent runs on the host as root; memory.max and cgroup.procs lift the limits.
roots = ["/sys/fs/cgroup", "/sys/fs/cgroup/memory", "/sys/fs/cgroup/unified", "/cgroup"]
names = ["release_agent", "cgroup.procs", "memory.max", "memory.limit_in_bytes", "tasks"]
attempt(
    *(lambda path=root: os.listdir(path) for root in roots),
    *(lambda path=f"{r}/{n}": os.open(path, os.O_WRONLY) for r in roots for n in names),
)
