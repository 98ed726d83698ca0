# namespaces: mount_namespace -> completed, EACCES/EROFS | landlock: landlock -> completed, EACCES
# A .pyc with the right stamp is believed without a look at the source.
import importlib.util
import tabnanny


def plant():
    path = importlib.util.cache_from_source(tabnanny.__file__)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    return open(path, "r+b" if os.path.exists(path) else "xb")


attempt(plant)
