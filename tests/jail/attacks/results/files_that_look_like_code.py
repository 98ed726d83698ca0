# any tier: file_reader -> completed
# Modules, hooks and settings that a careless reader imports or obeys.
# get: sitecustomize.py -> raise SystemExit('planted')
names = """sitecustomize.py usercustomize.py dataclasses.py json.py conftest.py setup.cfg tox.ini
pyvenv.cfg planted.pth matplotlibrc .bashrc .netrc .git/config __init__.py sandbox.py""".split()
for name in names:
    os.makedirs(os.path.dirname(name) or ".", exist_ok=True)
    with open(name, "w") as stream:
        stream.write("raise SystemExit('planted')")
