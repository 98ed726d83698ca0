# uses: modules that read files, map libraries or look at the system when imported
# out: 40
import importlib

names = """asyncio bz2 calendar cmath codecs colorsys concurrent.futures copy curses ctypes difflib
ensurepip fileinput filecmp ftplib gettext graphlib html idlelib imaplib ipaddress lib2to3 lzma
mailbox multiprocessing netrc optparse pdb plistlib pydoc quopri sched smtplib sqlite3 ssl
statistics tabnanny timeit venv webbrowser wsgiref zipapp""".split()
print(len([importlib.import_module(name) for name in names][:40]))
