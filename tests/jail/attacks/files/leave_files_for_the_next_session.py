# namespaces: mount_namespace -> completed, left | landlock: host -> completed, left
# Whatever is written here must be gone in a session that starts afterwards.
# fresh: __import__("glob").glob("/tmp/**/left-behind", recursive=True) -> []
# fresh: __import__("glob").glob("/dev/shm/left-behind") -> []
import tempfile

for folder in (".", tempfile.gettempdir(), os.path.expanduser("~"), "/dev/shm", "/tmp", "/var/tmp"):
    try:
        with open(f"{folder}/left-behind", "w") as stream:
            stream.write("left")
    except OSError:
        continue
contained("left")
