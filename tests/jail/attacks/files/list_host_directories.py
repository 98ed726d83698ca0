# namespaces: mount_namespace -> completed, ENOENT | landlock: landlock -> completed, EACCES
# What lies next to the canary.
# bare: escapes
attempt(lambda: os.listdir(HOST_DIRECTORY))
