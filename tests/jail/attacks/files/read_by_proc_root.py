# namespaces: mount_namespace -> completed, ENOENT | landlock: landlock -> completed, EACCES
# The root directory of other processes is a magic link in /proc.
# bare: escapes
import glob


def through(root):
    return lambda: open(root + CANARY_FILE).read()


roots = ["/proc/1/root", f"/proc/{os.getppid()}/root", "/proc/self/root", "/proc/thread-self/root"]
attempt(*map(through, roots + glob.glob("/proc/*/root")))
