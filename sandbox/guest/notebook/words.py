"""Which magics there are, and what to do in place of those that are not."""

SKIPPED = frozenset(
    (
        *("load_ext", "reload_ext", "unload_ext", "autoreload", "aimport", "config", "colors"),
        *("xmode", "autosave", "doctest_mode", "automagic", "pprint", "gui"),
        *("logstart", "logstop"),
    )
)
"""Magics that set up a notebook: there is nothing here for them to do."""
COMMANDS = frozenset(
    (
        *("ls", "cat", "cp", "mv", "rm", "mkdir", "rmdir", "head", "tail", "grep", "find", "wc"),
        *("touch", "man", "less", "more", "ll", "ldir", "lx"),
    )
)
"""Magics that are the shell command of that name."""
LISTINGS = {"ll": "ls -l", "ldir": "ls -d */", "lx": "ls -l"}
FORMS = {
    "html": "text/html",
    "markdown": "text/markdown",
    "latex": "text/latex",
    "svg": "image/svg+xml",
    "javascript": "application/javascript",
    "js": "application/javascript",
}
SHELLS = {"bash": "bash", "sh": "sh", "script": "sh"}

IN_PYTHON = "write what it does in Python"
_EXTENSION = "it comes with an extension of IPython, which is not here"
_CELLS = "there are no cells to change: send the code again"
_DIRECTORIES = "use `%cd DIRECTORY` and `%cd -`"
_DEBUGGER = "a debugger needs a terminal; print values instead"
INSTEAD = {  # magic: what to do, or why there is none
    "conda": "there is no conda; `%pip list` names the packages that are here",
    "mamba": "there is no conda; `%pip list` names the packages that are here",
    "micromamba": "there is no conda; `%pip list` names the packages that are here",
    "debug": _DEBUGGER,
    "pdb": _DEBUGGER,
    "tb": "the traceback is in the outcome of the snippet that raised it",
    "edit": _CELLS,
    "load": "it would put the file into a cell: `%run FILE` runs it, `%pycat FILE` prints it",
    "loadpy": "it would put the file into a cell: `%run FILE` runs it, `%pycat FILE` prints it",
    "recall": _CELLS,
    "rep": _CELLS,
    "rerun": _CELLS,
    "macro": "write a function",
    "alias": "write a function, or `!COMMAND`",
    "rehashx": "write `!COMMAND`",
    "store": "variables stay while the session does; what is to stay longer goes into a file",
    "notebook": "there is no notebook; `%save FILE 1-9` writes what snippets were into a file",
    "bookmark": _DIRECTORIES,
    "dirs": _DIRECTORIES,
    "pushd": _DIRECTORIES,
    "popd": _DIRECTORIES,
    "dhist": _DIRECTORIES,
    "precision": "format numbers: f'{x:.3f}', or numpy.set_printoptions(precision=3)",
    "perl": "write it into a file with `%%writefile`, and run it with `!perl FILE`",
    "sql": f"{_EXTENSION}: use sqlite3, or duckdb.sql()",
    "memit": f"{_EXTENSION}: use tracemalloc",
    "mprun": f"{_EXTENSION}: use tracemalloc",
    "lprun": f"{_EXTENSION}: use `%prun`, or line_profiler.LineProfiler",
    "cython": f"{_EXTENSION}, and no compiler is: use numba, or numpy",
    "R": f"{_EXTENSION}, and R is not: write it in Python",
    "tensorboard": f"{_EXTENSION}: plot the numbers",
    "logon": "outcomes have what was printed",
    "logoff": "outcomes have what was printed",
    "code_wrap": IN_PYTHON,
}


def unknown(magic: str) -> NotImplementedError:
    """The error for a magic, as it was written, that there is none of."""
    instead = INSTEAD.get(magic.lstrip("%"), IN_PYTHON)
    return NotImplementedError(f"{magic} is not available here: {instead}")
