# namespaces: mount_namespace -> completed, synthetic | landlock: landlock -> completed, EACCES
# The names of the people who use the host: /etc/passwd must be made up.
# bare: escapes
def host_users():
    users = {line.split(":")[0] for line in open("/etc/passwd")}
    return users - {"root", "cellblock"} or HARMLESS


attempt(host_users, harmless="synthetic")
