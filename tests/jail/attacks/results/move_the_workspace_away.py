# namespaces: mount_namespace -> completed, EROFS | landlock: landlock -> completed, EACCES
# Another directory, or a link, under the name of the workspace.
place = os.getcwd()


def move():
    os.rename(place, place + ".away")
    os.symlink("/", place)
    return "moved"


def remove():
    os.rmdir(place)
    os.symlink("/", place)
    return "removed"


attempt(move, remove)
