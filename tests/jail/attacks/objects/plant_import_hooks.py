# any tier: zygote -> completed
# A finder that answers for every module, and modules planted in the workspace and on the path.
# fresh: __import__("colorsys").rgb_to_hsv(0, 0, 0) -> (0.0, 0.0, 0)
import importlib.abc
import importlib.util


class Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    def find_spec(self, name, path=None, target=None):
        return importlib.util.spec_from_loader(name, self)

    def exec_module(self, module):
        module.rgb_to_hsv = lambda *args: "planted"


open("colorsys.py", "w").write("def rgb_to_hsv(*args): return 'planted'")
sys.path.insert(0, os.getcwd())
sys.meta_path.insert(0, Finder())
