# namespaces: pid_namespace -> completed, ENOENT | landlock: landlock -> completed, EACCES/ENOENT
# /proc/PID/mem is memory as a file; undumpable processes belong to root there.
attempt(
    *(
        lambda pid=pid: open(f"/proc/{pid}/mem", "r+b")
        for pid in (1, os.getppid(), VICTIM_PID, os.getpid() - 1)
    )
)
