# namespaces: user_namespace -> completed, EINVAL | landlock: capabilities -> completed, EPERM
# A copy of a program that belongs to root and has the set-uid bit.
import shutil


def plant():
    shutil.copy("/bin/echo", "planted")
    os.chown("planted", 0, 0)
    os.chmod("planted", 0o4755)
    return os.stat("planted").st_mode


attempt(plant)
