# namespaces: mount_namespace -> completed, ENOENT | landlock: landlock -> completed, EACCES
# Climb above the root and down again.
# bare: escapes
attempt(lambda: open("../" * 40 + CANARY_FILE.lstrip("/")).read())
