# namespaces: mount_namespace -> completed, ENOENT/empty | landlock: landlock -> completed, EACCES/ENOENT
# Keys, tokens and histories live in home directories. /home/user is the session's own, and empty.
OWN = {"/home": {"user"}}


def listed(path):
    return lambda: set(os.listdir(path)) - OWN.get(path, set()) or HARMLESS


homes = ["/root/.ssh", "/home", "/Users", "/var/lib", "/var/log", "/srv", "/boot", "/var/spool"]
attempt(*map(listed, homes), harmless="empty")
