# namespaces: mount_namespace -> completed, ENOENT | landlock: landlock -> completed, EACCES/ENOENT
# Global files of /proc that show the kernel, its symbols, its keys and its log.
names = """kcore kallsyms keys kmsg iomem slabinfo vmallocinfo timer_list sched_debug modules
config.gz cmdline version sysvipc/shm interrupts partitions""".split()
attempt(*(lambda path=f"/proc/{name}": os.open(path, os.O_RDONLY) for name in names))
