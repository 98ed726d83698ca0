# uses: modules that read files, map libraries or look at the system when imported
# out: 36
import importlib

names = """asyncio bz2 calendar cmath codecs colorsys concurrent.futures copy ctypes difflib
fileinput filecmp ftplib gettext graphlib html imaplib ipaddress lzma mailbox multiprocessing netrc optparse
pdb plistlib pydoc quopri sched smtplib sqlite3 ssl statistics tabnanny timeit webbrowser
wsgiref""".split()
print(len([importlib.import_module(name) for name in names]))
