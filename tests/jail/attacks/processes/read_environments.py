# namespaces: pid_namespace -> completed, EACCES/nothing | landlock: landlock -> completed, nothing
# Keys and passwords are in the environment of the process that embeds the engine.
# bare: escapes
import glob


def environment(path):
    def read():
        data = open(path, "rb").read()
        return data if b"CELLBLOCK_CANARY" in data else HARMLESS

    return read


attempt(*map(environment, glob.glob("/proc/[0-9]*/environ")), harmless="nothing")
