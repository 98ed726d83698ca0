# namespaces: pid_namespace -> completed, nothing | landlock: landlock -> completed, nothing
# /proc/PID/exe and map_files open files of a process whatever its mounts are.
import glob

own = os.stat(sys.executable)


def opened(path):
    def read():
        status = os.stat(path)
        if (status.st_dev, status.st_ino) == (own.st_dev, own.st_ino):
            return HARMLESS
        return open(path, "rb").name

    return read


attempt(*map(opened, glob.glob("/proc/[0-9]*/exe")), harmless="nothing")
