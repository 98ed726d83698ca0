"""The snippets that the grader runs in jails: the judge's parts sent, started and asked."""

from runner.evals.settings import RANDOM_SEED

GUEST = "runner.evals.guest"
PARTS = (
    "codec",
    "tracebacks",
    "candidate",
    "compare",
    "tests",
    "literals",
    "compiled",
    "judge",
    "replay",
)
"""In the order in which they import each other."""
WARMUP = f"{GUEST}.warmup"
"""Loads the parts, and uses them so that sessions find them adapted."""
PRELOAD = (
    "bisect",
    "collections",
    "copy",
    "datetime",
    "decimal",
    "fractions",
    "functools",
    "heapq",
    "inspect",
    "itertools",
    "json",
    "linecache",
    "marshal",
    "math",
    "operator",
    "random",
    "re",
    "statistics",
    "string",
    "traceback",
    "typing",
    "unittest",
)
"""What tests and candidates import most; each jail has it from the start."""
COMPILE = """
import base64, json, marshal, zlib
base64.b64encode(zlib.compress(marshal.dumps([(name, compile(text, '<' + name + '>', 'exec',
    dont_inherit=True)) for name, text in json.loads({parts!a})]), 9)).decode()
"""
START_SENT = """
import sys as _sys, marshal as _marshal, base64 as _base64, types as _types, zlib as _zlib
for _name, _code in _marshal.loads(_zlib.decompress(_base64.b64decode({parts!r}))):
    _module = _sys.modules[_name] = _types.ModuleType(_name)
    exec(_code, _module.__dict__)
"""
FIND = "import sys as _sys\n_{part} = _sys.modules['" + GUEST + ".{part}']\n"
HASHES = """
import hashlib, json, sys
json.dumps([hashlib.sha256(open(sys.modules[name].__file__, 'rb').read()).hexdigest()
            for name in {names!r}])
"""
FORK = FIND.format(part="judge") + "_judge = _judge.Judge.fork({source}, {place!r})\n"
ASK_BEFOREHAND = FIND.format(part="candidate") + (
    "_candidate.answer_beforehand({source}, {place!r}, __import__('json').loads({asked!a}))"
)
ANSWER_CALL = (
    f"{GUEST}.candidate:answer_call",
    '{{"source": {source}, "place": {place}, "asked": {asked}}}',
)
"""The function that does as `ASK_BEFOREHAND`, where its module is preloaded; what it is given."""
EXAMINE = "import json as _json\n_judge.verdict(_json.loads({check!a}))"
REFERENCE = FIND.format(part="judge") + (
    "print(_judge.reference_values(*__import__('json').loads({given!a}), {cap}))"
)
SEED = f"""
import random as _random, sys as _sys
_random.seed({RANDOM_SEED})
if 'numpy.random' in _sys.modules:
    _sys.modules['numpy.random'].seed({RANDOM_SEED})
del _random, _sys
"""
