# namespaces: mount_namespace -> completed, ENOENT | landlock: landlock -> completed, EACCES
# Another session of the same sandbox keeps a file under a known name.
attempt(
    lambda: open(f"{SIBLING_DIRECTORY}/secret.txt").read(),
    lambda: open(f"{SIBLING_HOME}/secret.txt").read(),
    lambda: open(f"{SIBLING_TEMPORARY}/secret.txt").read(),
)
