# namespaces: mount_namespace -> completed, ENOENT/EROFS | landlock: landlock -> completed, EACCES/ENOENT
# Create, rename and remove below the directories of the system.
places = ("/", "/usr/bin", "/usr/lib", "/etc", "/home", "/run", "/var", "/mnt", "/dev", "/opt")
attempt(
    *(lambda path=f"{place}/planted": open(path, "x") for place in places),
    *(lambda path=f"{place}/planted": os.mkdir(path) or path for place in places),
    lambda: os.rename("/usr/bin/env", "/usr/bin/env.bak") or "renamed",
    lambda: os.unlink("/etc/passwd") or "unlinked",
)
