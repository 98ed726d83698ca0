# namespaces: pid_namespace -> completed, ENOENT/nothing | landlock: landlock -> completed, nothing
# The working directory and the open files of other processes are magic links in /proc.
# bare: escapes
import glob


def opened(path):
    def read():
        text = open(path, errors="replace").read(1 << 20)
        return text if "canary:" in text else HARMLESS

    return read


paths = [f"{cwd}/{os.path.basename(CANARY_FILE)}" for cwd in glob.glob("/proc/[0-9]*/cwd")]
attempt(*map(opened, paths), harmless="nothing")
