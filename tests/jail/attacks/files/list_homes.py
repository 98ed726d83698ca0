# namespaces: mount_namespace -> completed, ENOENT/empty | landlock: landlock -> completed, EACCES/ENOENT
# Keys, tokens and histories live in home directories.
def listed(path):
    return lambda: os.listdir(path) or HARMLESS


homes = ["/root/.ssh", "/home", "/Users", "/var/lib", "/var/log", "/srv", "/boot", "/var/spool"]
attempt(*map(listed, homes), harmless="empty")
