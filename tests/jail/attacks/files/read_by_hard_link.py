# namespaces: mount_namespace -> completed, ENOENT | landlock: landlock -> completed, EPERM/EXDEV
# A second name for the host's file, inside the workspace.
def link_and_read():
    os.link(CANARY_FILE, "innocent.txt")
    return open("innocent.txt").read()


attempt(link_and_read)
