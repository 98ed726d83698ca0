# namespaces: mount_namespace -> completed, ENOENT | landlock: landlock -> completed, EACCES
# A link in the workspace that points to the host's file.
# bare: escapes
os.symlink(CANARY_FILE, "innocent.txt")
attempt(lambda: open("innocent.txt").read())
