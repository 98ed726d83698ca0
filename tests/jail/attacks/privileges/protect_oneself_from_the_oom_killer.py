# namespaces: user_namespace -> completed, EACCES | landlock: landlock -> completed, EACCES
# Below zero, the kernel would kill the host's processes first.
def protect(name, value):
    def write():
        with open(f"/proc/self/{name}", "w") as stream:
            stream.write(value)
        return name

    return write


attempt(protect("oom_score_adj", "-1000"), protect("oom_adj", "-17"))
