"""Import presets: tables of what a snippet may import by name, a reason in each row.

They tell a model what is there and what to use instead; they are no wall. Each row's names
stand for the module and all below it. First match wins, so an exception precedes its rule.
"""

from collections.abc import Iterator
from typing import Literal, NamedTuple

from sandbox.protocol.plan import ImportAction, ImportRule

PresetName = Literal["open", "data", "pure"]


class Row(NamedTuple):
    """One reason for several modules; `names` are separated by blanks.

    `alternative` completes the sentence "Allowed instead: ...".
    """

    action: ImportAction
    names: str
    reason: str
    alternative: str = ""


class Preset(NamedTuple):
    rules: tuple[ImportRule, ...]
    default: ImportAction


NO_NETWORK = "the jail has no network"
NO_PROCESSES = "a snippet starts no processes of its own"
NO_MACHINE = "the machine is not the snippet's to look at or change"
PUT_FILES = "files that the user puts into the workspace"

PURE_MODULES = (
    Row("allow", "__future__", "switches of the language itself"),
    Row("allow", "math cmath decimal fractions numbers random statistics", "numbers"),
    Row("allow", "string re textwrap unicodedata difflib pprint reprlib", "text"),
    Row("allow", "json csv html base64 binascii struct", "text and bytes in known formats"),
    Row("allow", "datetime calendar time zoneinfo", "dates and times"),
    Row("allow", "collections heapq bisect array graphlib", "containers and algorithms"),
    Row("allow", "itertools functools operator contextlib copy", "functions over values"),
    Row("allow", "abc enum dataclasses types typing", "declaring types"),
    Row("allow", "hashlib hmac secrets uuid zlib", "digests, chance and compression in memory"),
    Row("allow", "io", "streams in memory"),
)

PURE_ALTERNATIVES = (
    Row(
        "refuse",
        "numpy pandas scipy sympy matplotlib",
        "this policy allows the pure part of the standard library only",
        "math, statistics, fractions and lists",
    ),
    Row(
        "refuse",
        "os sys pathlib glob shutil tempfile",
        "this policy allows computing, not the file system or the interpreter",
        "open() for files in the workspace",
    ),
)

DATA_PACKAGES = (
    Row("allow", "numpy pandas scipy sympy mpmath", "arrays, tables, numerics, algebra"),
    Row("allow", "matplotlib mpl_toolkits pylab seaborn plotly bokeh altair", "charts"),
    Row("allow", "sklearn statsmodels patsy joblib threadpoolctl", "statistics and learning"),
    Row("allow", "xgboost lightgbm catboost shap imblearn optuna", "boosted trees and tuning"),
    Row("allow", "torch torchvision jax jaxlib tensorflow keras transformers", "neural networks"),
    Row("allow", "polars pyarrow duckdb fastparquet tables h5py xarray netCDF4 zarr", "tables"),
    Row("allow", "openpyxl xlrd xlsxwriter odf docx pptx pypdf PyPDF2 reportlab", "documents"),
    Row("allow", "PIL cv2 skimage imageio tifffile", "images"),
    Row("allow", "networkx igraph shapely geopandas pyproj fiona", "graphs and maps"),
    Row("allow", "nltk spacy gensim regex wordcloud jieba textblob", "language"),
    Row("allow", "bs4 lxml html5lib soupsieve yaml orjson ujson toml tomli", "markup"),
    Row("allow", "numba numexpr bottleneck cython cvxpy pulp ortools", "fast code, optimization"),
    Row("allow", "dateutil pytz tzdata tabulate tqdm rich IPython pydantic attr attrs", "helpers"),
    Row("allow", "typing_extensions six packaging more_itertools sortedcontainers", "helpers"),
)

REFUSED_FOR_DATA = (
    Row(
        "refuse",
        "subprocess pty popen2 pexpect sh",
        NO_PROCESSES,
        "Python itself: shutil and pathlib for files, zipfile and tarfile for archives",
    ),
    Row(
        "refuse",
        "multiprocessing concurrent.futures.process _posixsubprocess _multiprocessing",
        NO_PROCESSES,
        "concurrent.futures.ThreadPoolExecutor, whole-array operations of numpy",
    ),
    Row("allow", "urllib.parse urllib.error", "takes addresses apart, opens none"),
    Row(
        "refuse",
        "urllib http requests httpx aiohttp urllib3 websockets webbrowser",
        NO_NETWORK,
        PUT_FILES,
    ),
    Row(
        "refuse",
        "socket socketserver ssl select selectors _socket _ssl xmlrpc",
        NO_NETWORK,
        PUT_FILES,
    ),
    Row(
        "refuse",
        "ftplib smtplib poplib imaplib nntplib telnetlib smtpd wsgiref cgi cgitb paramiko",
        NO_NETWORK,
        PUT_FILES,
    ),
    Row(
        "refuse",
        "ctypes _ctypes cffi mmap",
        "memory is for native packages to manage",
        "numpy, array and struct",
    ),
    Row(
        "refuse",
        "resource fcntl termios tty syslog grp pwd spwd crypt nis msvcrt winreg psutil",
        NO_MACHINE,
        "os for files, time for durations",
    ),
    Row(
        "refuse",
        "pip ensurepip venv setuptools distutils pkg_resources conda",
        "nothing can be installed while a session runs",
        "the packages that are there",
    ),
    Row(
        "refuse",
        "tkinter turtle turtledemo curses readline idlelib pdb bdb code codeop cmd",
        "nobody sits at a screen or keyboard",
        "print and matplotlib, whose figures are shown",
    ),
)

DATA_STANDARD_LIBRARY = (
    Row("allow", "os sys pathlib glob fnmatch shutil tempfile stat filecmp", "workspace files"),
    Row("allow", "asyncio threading queue concurrent sched contextvars signal", "doing in turns"),
    Row("allow", "zipfile tarfile gzip bz2 lzma", "archives and compressed files"),
    Row("allow", "pickle pickletools copyreg shelve dbm sqlite3 marshal", "stored values"),
    Row("allow", "configparser tomllib plistlib xml email mailbox mimetypes quopri", "formats"),
    Row("allow", "codecs encodings locale gettext stringprep shlex netrc", "encodings, languages"),
    Row("allow", "logging warnings traceback errno", "messages and errors"),
    Row("allow", "inspect ast dis tokenize token keyword symtable linecache", "reading code"),
    Row("allow", "importlib pkgutil zipimport runpy builtins site sysconfig", "loading modules"),
    Row("allow", "gc weakref tracemalloc timeit cProfile profile pstats trace", "measuring"),
    Row("allow", "unittest doctest argparse getopt optparse getpass platform", "programs, tests"),
    Row("allow", "colorsys wave imghdr sndhdr ipaddress atexit faulthandler", "small helpers"),
)


def _rules(*tables: tuple[Row, ...]) -> Iterator[ImportRule]:
    for row in (row for table in tables for row in table):
        for name in row.names.split():
            for pattern in (name, f"{name}.*"):
                yield ImportRule(pattern, row.action, row.reason, row.alternative)


PRESETS: dict[PresetName, Preset] = {
    "open": Preset((), "allow"),
    "data": Preset(
        # A refusal names the first modules that are allowed: packages before the rest.
        tuple(_rules(DATA_PACKAGES, PURE_MODULES, REFUSED_FOR_DATA, DATA_STANDARD_LIBRARY)),
        "refuse",
    ),
    "pure": Preset(tuple(_rules(PURE_ALTERNATIVES, PURE_MODULES)), "refuse"),
}
"""`open` allows every module; `data` those of data analysis; `pure` those that only compute."""
