# namespaces: file_reader -> completed, EBUSY/EACCES/EROFS/EPERM/EXDEV | landlock: landlock -> completed, EACCES/EXDEV/EPERM/EBUSY
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
