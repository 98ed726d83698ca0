# namespaces: mount_namespace -> completed, ENOENT | landlock: landlock -> completed, EACCES
# A world-readable file of the host, by its full name.
# bare: escapes
attempt(lambda: open(CANARY_FILE).read())
