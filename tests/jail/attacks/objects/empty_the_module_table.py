# any tier: zygote -> completed
# Nothing is imported any more, and nothing can be.
# fresh: __import__("json").dumps([1]) -> '[1]'
sys.meta_path.clear()
sys.path.clear()
sys.path_hooks.clear()
sys.modules.clear()
