# namespaces: mount_namespace -> completed, ENOENT | landlock: landlock -> completed, EACCES
# The password hashes of the host.
attempt(lambda: open("/etc/shadow").read())
