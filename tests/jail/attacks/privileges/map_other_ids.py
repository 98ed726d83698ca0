# namespaces: user_namespace -> completed, EACCES | landlock: capabilities -> completed, EACCES
# The maps of the user namespace are written once; a second line would give other ids.
attempt(
    *(
        lambda name=name: open(f"/proc/self/{name}", "w").write("0 0 1")
        for name in ("uid_map", "gid_map", "projid_map")
    )
)
