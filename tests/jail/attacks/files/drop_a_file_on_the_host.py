# namespaces: mount_namespace -> completed, ENOENT | landlock: landlock -> completed, EACCES
# A directory of the host that anyone may write.
# bare: escapes
attempt(
    lambda: open(f"{HOST_DIRECTORY}/dropped", "x"),
    lambda: os.mkdir(f"{HOST_DIRECTORY}/made") or "made",
    lambda: os.symlink("/", f"{HOST_DIRECTORY}/link") or "linked",
    lambda: os.mkfifo(f"{HOST_DIRECTORY}/fifo") or "fifo",
)
