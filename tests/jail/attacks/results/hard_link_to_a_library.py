# namespaces: file_reader -> completed, EXDEV/EPERM/EACCES | landlock: landlock -> completed, EXDEV/EPERM/EACCES
# A second name for a shared file would let the guest's user change it later.
attempt(
    *(lambda path=path: os.link(path, "linked") or path for path in (os.__file__, sys.executable))
)
