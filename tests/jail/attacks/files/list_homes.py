# namespaces: mount_namespace -> completed, ENOENT/empty | landlock: landlock -> completed, EACCES/ENOENT
# Keys, tokens and histories live in home directories. /home/user is the session's own, and empty.
def listed(path):
    def work():
        names = set(os.listdir(path))
        if path == "/home" and "user" in names and os.stat("/home/user").st_uid == os.getuid():
            names.remove("user")
        return names or HARMLESS

    return work


homes = ["/root/.ssh", "/home", "/Users", "/var/lib", "/var/log", "/srv", "/boot", "/var/spool"]
attempt(*map(listed, homes), harmless="empty")
