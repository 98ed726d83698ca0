# namespaces: user_namespace -> completed, EINVAL | landlock: capabilities -> completed, EPERM/harmless
# A copy of a program that belongs to root and has the set-uid bit.
import shutil


def plant():
    shutil.copy("/bin/echo", "planted")
    os.chown("planted", 0, 0)
    os.chmod("planted", 0o4755)
    # A plain user's session in the tier landlock is answered without an effect.
    made = os.stat("planted")
    return made.st_mode if made.st_mode & stat.S_ISUID else HARMLESS


attempt(plant)
