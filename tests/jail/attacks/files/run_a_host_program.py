# namespaces: mount_namespace -> completed, ENOENT | landlock: landlock -> completed, EACCES
# A program of the host that is not part of the jail.
# bare: escapes
import subprocess

attempt(lambda: subprocess.run([HOST_PROGRAM], capture_output=True, check=True).stdout)
