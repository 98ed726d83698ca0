# uses: HOME, XDG caches, user site, getpass
# out: True cellblock True
# tiers: namespaces
import getpass
import os
import pathlib

cache = pathlib.Path.home() / ".cache" / "tool"
cache.mkdir(parents=True)
(cache / "x").write_text("x")
home = str(pathlib.Path.home())
print((cache / "x").exists(), getpass.getuser(), os.path.expanduser("~") == home)
