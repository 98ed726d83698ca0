# namespaces: mount_namespace -> completed, ENOENT | landlock: landlock -> completed, EACCES
# Landlock knows truncation only since its third version; opening for append is not needed.
# bare: escapes
attempt(lambda: os.truncate(WRITABLE_FILE, 1) or "truncated")
