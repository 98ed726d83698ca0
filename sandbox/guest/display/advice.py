"""A line to go with an error that a snippet meets in a jail: what to do instead.

For mistakes that Python words for another place: a package that is not here, a path that cannot
be written, a loop that runs already.
"""

import difflib
import errno
import os
import re
import sys
from collections.abc import Mapping

from sandbox.protocol.plan import SHARED_MEMORY, TEMPORARY, WORKSPACE, WORKSPACE_ALIAS

DISTRIBUTIONS = {  # module: what it is installed as, where the names differ
    "cv2": "opencv-python-headless",
    "sklearn": "scikit-learn",
    "skimage": "scikit-image",
    "PIL": "pillow",
    "bs4": "beautifulsoup4",
    "yaml": "pyyaml",
    "docx": "python-docx",
    "pptx": "python-pptx",
    "dateutil": "python-dateutil",
    "Crypto": "pycryptodome",
    "fitz": "pymupdf",
    "dotenv": "python-dotenv",
}
ALTERNATIVES = {  # module: what does most of the same, the best first
    "polars": ("pandas", "pyarrow", "duckdb"),
    "pandas": ("polars", "csv"),
    "seaborn": ("matplotlib", "plotly"),
    "plotly": ("matplotlib", "altair", "bokeh"),
    "altair": ("matplotlib", "plotly"),
    "bokeh": ("matplotlib", "plotly"),
    "matplotlib": ("plotly", "altair"),
    "requests": ("httpx", "urllib.request"),
    "httpx": ("requests", "urllib.request"),
    "aiohttp": ("httpx", "urllib.request"),
    "cv2": ("PIL", "skimage"),
    "skimage": ("PIL", "scipy"),
    "PIL": ("matplotlib", "imageio"),
    "sklearn": ("scipy", "statsmodels", "numpy"),
    "statsmodels": ("scipy", "sklearn"),
    "scipy": ("numpy",),
    "torch": ("sklearn", "numpy"),
    "tensorflow": ("torch", "sklearn", "numpy"),
    "xgboost": ("lightgbm", "sklearn"),
    "lightgbm": ("xgboost", "sklearn"),
    "sympy": ("mpmath", "math"),
    "bs4": ("lxml", "html.parser"),
    "lxml": ("xml.etree.ElementTree", "bs4"),
    "openpyxl": ("xlsxwriter", "pandas"),
    "xlsxwriter": ("openpyxl",),
    "ujson": ("orjson", "json"),
    "orjson": ("json",),
    "yaml": ("json", "tomllib"),
    "tabulate": ("pandas", "rich"),
    "tqdm": ("rich",),
    "networkx": ("scipy",),
    "psycopg2": ("sqlite3",),
    "pymysql": ("sqlite3",),
    "PyPDF2": ("pypdf", "pdfplumber"),
    "pypdf": ("pdfplumber", "PyPDF2"),
}
ELSEWHERE = {  # module: what to do in place of a service that has it
    "google": (
        "Where it is for google.colab: this is not Google Colab. Files are read and written in"
        " {directory}, the working directory, and what is left there is given back."
    ),
    "google.colab": (
        "This is not Google Colab: files are read and written in {directory}, the working"
        " directory, and what is left there is given back. Nothing is mounted or downloaded."
    ),
    "kaggle_secrets": "This is not Kaggle: files are in {directory}, the working directory.",
    "dbutils": "This is not Databricks: files are in {directory}, the working directory.",
}
NOT_IMPORTED = re.compile(
    r"Missing optional dependency '(\w+)'|`Import (\w+)` failed|(\w+) not found, please install it"
)
"""How pandas words that a module is not there."""
LACKING = (  # in the message: what to do
    (
        "kaleido",
        "A chart is shown by `fig.show()`, and kept by `fig.write_html('chart.html')`.",
    ),
    ("(ffmpeg) not available", "{gif}"),
    ("unknown file extension: .mp4", "{gif}"),
)
GIF = (
    "There is no ffmpeg here, which writes films: write a GIF,"
    " `animation.save('animation.gif', writer='pillow')`."
)
CLOSE = 0.75
NAMED = 3
ASYNCIO = {  # how the message begins: what to do
    "asyncio.run() cannot be called from a running event loop": (
        "A snippet that awaits has a running loop: write `await main()` in place of"
        " `asyncio.run(main())`."
    ),
    "This event loop is already running": (
        "A snippet that awaits has a running loop: write `await main()` in place of"
        " `loop.run_until_complete(main())`."
    ),
}
NO_DIRECTORY = re.compile("non-existent directory: '([^']+)'")
SYSTEM = ("/proc/", "/sys/", "/dev/", "/usr/", "/etc/", "/lib", "/bin/", "/var/")
UNWRITABLE = (errno.ENOENT, errno.EACCES, errno.EROFS, errno.EPERM)


def advice_for(error: BaseException, directory: str) -> str:
    """What to do about `error`; empty if that goes without saying.

    `directory` is the workspace. Runs nothing of the guest's: attributes are read from the bases.
    """
    if isinstance(error, ModuleNotFoundError):
        name = ImportError.__dict__["name"].__get__(error)
        return _about_module(name, directory) if type(name) is str else ""
    if isinstance(error, OSError):
        return _about_path(error, directory)
    said = error.args[0] if error.args and type(error.args[0]) is str else ""
    if isinstance(error, ImportError):
        module = NOT_IMPORTED.search(said)
        return _about_module(next(filter(None, module.groups())), directory) if module else ""
    if isinstance(error, RuntimeError | ValueError):
        for part, text in LACKING:
            if part in said.lower():
                return text.format(gif=GIF)
    if isinstance(error, RuntimeError):
        return next((text for start, text in ASYNCIO.items() if said.startswith(start)), "")
    return ""


# ---- modules ------------------------------------------------------------------------------------


def _about_module(name: str, directory: str) -> str:
    top = name.partition(".")[0]
    elsewhere = ELSEWHERE.get(name) or ELSEWHERE.get(".".join(name.split(".")[:2]))
    if elsewhere is not None:
        return elsewhere.format(directory=directory)
    here = installed()
    if top in here or top in sys.modules:
        return ""  # The package is there: it has no such part.
    found = [other for other in ALTERNATIVES.get(top, ()) if other.partition(".")[0] in here]
    found += [
        other for other in difflib.get_close_matches(top, here, NAMED, CLOSE) if other not in found
    ]
    instead = f" Installed here: {', '.join(found[:NAMED])}." if found else ""
    package = DISTRIBUTIONS.get(top, top)
    here_too = f" `!pip install {package}` may work here." if "PIP_TARGET" in os.environ else ""
    return (
        f"{top!r} is not installed in this environment.{instead}{here_too} The owner of the sandbox"
        f" can add it: `session.install(['{package}'])` for this session, `cellblock env create"
        f' NAME --with {package}` and `environment = "NAME"` in the policy, or'
        f" `{sys.executable} -m pip install {package}`."
    )


def installed() -> Mapping[str, None]:
    """Names of the modules that an import would find at top level, in no order."""
    names = dict.fromkeys(sys.stdlib_module_names)
    for entry in sys.path:
        try:
            with os.scandir(entry or ".") as files:
                for file in files:
                    stem, dot, rest = file.name.partition(".")
                    if stem.isidentifier() and (
                        (not dot and file.is_dir()) or rest == "py" or rest.endswith("so")
                    ):
                        names[stem] = None
        except OSError:
            continue  # An entry need not exist, or be a directory.
    return names


# ---- paths --------------------------------------------------------------------------------------


def _about_path(error: OSError, directory: str) -> str:
    number = OSError.__dict__["errno"].__get__(error)
    path = OSError.__dict__["filename"].__get__(error)
    if path is None and number is None:
        # pandas looks for the directory itself, and has the path in its words alone.
        said = error.args[0] if error.args and type(error.args[0]) is str else ""
        named = NO_DIRECTORY.search(said)
        number, path = errno.ENOENT, named and named[1]
    if number not in UNWRITABLE or type(path) not in (str, bytes):
        return ""
    text = os.fsdecode(path)
    if number == errno.ENOENT and text.startswith(SYSTEM):
        return ""
    temporary = "/tmp" if directory == WORKSPACE else f"{os.path.dirname(directory)}/tmp"
    own = (directory, WORKSPACE, WORKSPACE_ALIAS, temporary, TEMPORARY, SHARED_MEMORY)
    if ".." in text.split("/"):
        text = os.path.abspath(text)
    if not text.startswith("/") or any((text + "/").startswith(root + "/") for root in own):
        return ""
    return (
        f"Files of this session are in {directory}, the working directory: read and write there,"
        f" by relative paths, or in {temporary}."
    )
