# namespaces: mount_namespace -> completed, ENOENT | landlock: landlock -> completed, EACCES
# A file of the host that anyone may write.
# bare: escapes
attempt(lambda: open(WRITABLE_FILE, "a").write("overwritten"))
