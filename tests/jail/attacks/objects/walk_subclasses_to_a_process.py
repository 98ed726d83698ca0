# namespaces: mount_namespace -> completed, exit 1 | landlock: landlock -> completed, exit 1/EACCES
# From the empty tuple to a process: the way is open, and leads nowhere.
# bare: escapes
import subprocess

found = [cls for cls in ().__class__.__base__.__subclasses__() if cls.__name__ == "Popen"]


def run():
    assert found == [subprocess.Popen]
    child = found[0](["/bin/cat", CANARY_FILE], stdout=-1, stderr=-3)
    output, _nothing = child.communicate()
    return output if child.returncode == 0 else HARMLESS


attempt(run, harmless="exit 1")
