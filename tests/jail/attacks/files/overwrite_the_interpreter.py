# namespaces: mount_namespace -> completed, EACCES/EROFS | landlock: landlock -> completed, EACCES
# Every session of the host maps these files: one write would reach all of them.
import json

targets = [sys.executable, os.__file__, ctypes.__file__, json.__file__]
attempt(*(lambda path=path: open(path, "r+b") for path in targets))
