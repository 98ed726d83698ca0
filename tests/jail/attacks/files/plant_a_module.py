# namespaces: mount_namespace -> completed, E* | landlock: landlock -> completed, EACCES
# A .pth file, a sitecustomize or a shadowing module runs in the next Python that starts.
import site
import sysconfig

folders = [*site.getsitepackages(), sysconfig.get_path("stdlib"), sysconfig.get_path("purelib")]
names = ("planted.pth", "sitecustomize.py", "usercustomize.py", "dataclasses.py")
attempt(
    *(
        lambda path=f"{folder}/{name}": os.open(path, os.O_CREAT | os.O_WRONLY)
        for folder in folders
        if os.path.isdir(folder)
        for name in names
    )
)
