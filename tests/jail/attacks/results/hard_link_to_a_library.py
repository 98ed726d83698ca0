# namespaces: mount_namespace -> completed, EXDEV | landlock: landlock -> completed, EPERM/EXDEV
# A second name for a shared file would let the guest's user change it later.
attempt(
    *(lambda path=path: os.link(path, "linked") or path for path in (os.__file__, sys.executable))
)
