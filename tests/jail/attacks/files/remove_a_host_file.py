# namespaces: mount_namespace -> completed, ENOENT | landlock: landlock -> completed, EACCES
# Unlink, or move it into the workspace and read it there.
# bare: escapes
def move():
    os.rename(WRITABLE_FILE, "moved")
    return open("moved").read()


attempt(move, lambda: os.unlink(WRITABLE_FILE) or "unlinked")
