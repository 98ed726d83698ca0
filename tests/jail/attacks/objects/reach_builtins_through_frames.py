# namespaces: mount_namespace -> completed, ENOENT | landlock: landlock -> completed, EACCES
# A generator's frame knows the builtins of the code that made it.
# bare: escapes
generator = (generator.gi_frame for _ in "x")
frame = next(generator)
attempt(lambda: frame.f_builtins["open"](CANARY_FILE).read())
