"""What is tried of each library: something that starts its threads, and what is right of it.

`expected` is what its use comes to where it works, found with a plain interpreter. `reason` is part
of what a session says that cannot be copied because of it; empty where it can.
"""

import base64
from typing import NamedTuple


class Work(NamedTuple):
    library: str
    module: str
    setup: str
    use: str
    expected: str
    how: str
    reason: str = ""
    branch_reason: str = ""
    needs_proc: bool = False
    """Whether it, or what tells of its threads, is in files that namespaces alone show."""


def _field(number: int, content: bytes) -> bytes:
    return _whole(number << 3 | 2) + _whole(len(content)) + content


def _whole(value: int) -> bytes:
    """A varint of protobuf."""
    encoded = b""
    while value > 127:
        encoded += bytes([value & 127 | 128])
        value >>= 7
    return encoded + bytes([value])


def _onnx_model() -> str:
    """y = x @ x for floats of 512 by 512, in ONNX's format, as base64."""
    side = _field(1, _whole(1 << 3) + _whole(512))
    kind = _field(1, _whole(1 << 3) + _whole(1) + _field(2, side + side))
    node = _field(1, b"x") + _field(1, b"x") + _field(2, b"y") + _field(4, b"MatMul")
    graph = _field(1, node) + _field(2, b"g")
    graph += _field(11, _field(1, b"x") + _field(2, kind))
    graph += _field(12, _field(1, b"y") + _field(2, kind))
    opset = _field(8, _field(1, b"") + _whole(2 << 3) + _whole(13))
    return base64.b64encode(_whole(1 << 3) + _whole(8) + _field(7, graph) + opset).decode()


NO_THREADS = "no threads of its own"
OPENMP = "OpenMP: its threads are ended before a copy is made, and start again by themselves"
ANEW = "its threads start anew in a copy"
BLAS = "OpenBLAS: its threads start anew in a copy"
IN_A_CHILD = "use it in a child process, or put what matters into files"
POINTS = (
    "import numpy as np\n"
    "X = np.random.default_rng(0).normal(size=(2000, 5)); y = (X[:, 0] > 0).astype(int)\n"
)
ONNX = (
    "import onnxruntime, numpy as np, base64\n"
    "options = onnxruntime.SessionOptions(){}\n"
    f"model = onnxruntime.InferenceSession(base64.b64decode({_onnx_model()!r}), options)\n"
)
ONNX_USE = "float(model.run(None, {'x': np.ones((512, 512), np.float32)})[0].sum())"

WORKS = (
    Work(
        "numpy",
        "numpy",
        "import numpy as np\na = np.ones((600, 600))\n",
        "float((a @ a).sum())",
        "216000000.0",
        BLAS,
    ),
    Work(
        "scipy",
        "scipy",
        "import numpy as np, scipy.linalg\na = np.eye(600) * 2\n",
        "float(scipy.linalg.solve(a, np.ones(600)).sum())",
        "300.0",
        BLAS,
    ),
    Work(
        "scipy.fft with `workers`",
        "scipy",
        "import numpy as np, scipy.fft\n",
        "float(abs(scipy.fft.fft2(np.ones((300, 300)), workers=2)[0, 0]))",
        "90000.0",
        "its threads start anew in a copy, and so keep it from entering a branch",
        branch_reason="starts threads in every copy",
    ),
    Work(
        "pandas",
        "pandas",
        "import pandas as pd, numpy as np\n"
        "df = pd.DataFrame({'g': np.arange(9000) % 3, 'v': np.ones(9000), 's': ['x'] * 9000})\n",
        "df.groupby('g').v.sum().tolist(), df.s.str.upper().nunique()",
        "([3000.0, 3000.0, 3000.0], 1)",
        BLAS,
    ),
    Work(
        "pyarrow",
        "pyarrow",
        "import pyarrow as pa, pyarrow.compute as pc, pyarrow.parquet as pq\n"
        "pq.write_table(pa.table({'a': range(200_000), 'g': [i % 7 for i in range(200_000)]}),"
        " 'a.parquet', row_group_size=20_000)\n",
        "t = pq.read_table('a.parquet')\n"
        "t.group_by('g').aggregate([('a', 'sum')]).num_rows, pc.sum(t['a']).as_py()",
        "(7, 19999900000)",
        ANEW,
    ),
    Work(
        "polars",
        "polars",
        "import polars as pl\n"
        "df = pl.DataFrame({'g': [i % 7 for i in range(100_000)], 'v': range(100_000)})\n",
        "df.group_by('g').agg(pl.col('v').sum()).height,"
        " df.lazy().filter(pl.col('v') > 9).collect().height",
        "(7, 99990)",
        f"its pool cannot be ended or started anew: {IN_A_CHILD}",
        reason="polars",
    ),
    Work(
        "duckdb",
        "duckdb",
        "import duckdb\nc = duckdb.connect()\n"
        "c.execute('create table t as select i, i % 7 g from range(300000) t(i)')\n",
        "c.execute('select sum(i), count(distinct g) from t').fetchall(),"
        " duckdb.sql('select 42').fetchall()",
        "([(44999850000, 7)], [(42,)])",
        "its threads are ended before a copy is made, and started again after it",
        needs_proc=True,
    ),
    Work(
        "torch",
        "torch",
        "import torch\na = torch.ones(600, 600, requires_grad=True)\n",
        "loss = (a @ a).sum(); loss.backward(); float(loss), float(a.grad[0, 0]) > 0",
        "(216000000.0, True)",
        OPENMP,
    ),
    Work(
        "scikit-learn",
        "sklearn",
        POINTS + "from sklearn.cluster import KMeans\n"
        "from sklearn.ensemble import HistGradientBoostingClassifier\n",
        "KMeans(3, n_init=1, random_state=0).fit(X).predict(X).shape,"
        " round(HistGradientBoostingClassifier(max_iter=5).fit(X, y).score(X, y), 1)",
        "((2000,), 1.0)",
        OPENMP,
    ),
    Work(
        "xgboost",
        "xgboost",
        POINTS + "import xgboost\nmodel = xgboost.XGBClassifier(n_estimators=5, n_jobs=2)\n",
        "round(float(model.fit(X, y).score(X, y)), 1)",
        "1.0",
        OPENMP,
    ),
    Work(
        "lightgbm",
        "lightgbm",
        POINTS + "import lightgbm\n"
        "model = lightgbm.LGBMClassifier(n_estimators=5, n_jobs=2, verbose=-1)\n",
        "round(float((model.fit(X, y).predict(X) == y).mean()), 1)",
        "1.0",
        OPENMP,
    ),
    Work(
        "onnxruntime",
        "onnxruntime",
        ONNX.format(""),
        ONNX_USE,
        "134217728.0",
        "its pool cannot be ended: set `intra_op_num_threads` of SessionOptions to 1",
        reason="intra_op_num_threads is 1",
    ),
    Work(
        "onnxruntime, one thread",
        "onnxruntime",
        ONNX.format("; options.intra_op_num_threads = 1"),
        ONNX_USE,
        "134217728.0",
        "with `intra_op_num_threads = 1` it has no threads",
    ),
    Work(
        "numba",
        "numba",
        "import numba, numpy as np\n@numba.njit(parallel=True)\ndef total(a):\n    s = 0.0\n"
        "    for i in numba.prange(a.size): s += a[i]\n    return s\n",
        "total(np.ones(100000))",
        "100000.0",
        OPENMP,
    ),
    Work(
        "opencv",
        "cv2",
        "import cv2, numpy as np\nim = np.full((2000, 2000, 3), 7, np.uint8)\n",
        "float(cv2.GaussianBlur(im, (31, 31), 3).mean()), cv2.resize(im, (100, 100)).shape",
        "(7.0, (100, 100, 3))",
        ANEW,
    ),
    Work(
        "numexpr",
        "numexpr",
        "import numexpr, numpy as np\na = np.arange(1e6)\nbefore = numexpr.set_num_threads(2)\n",
        "float(numexpr.evaluate('a * 2 + 1').sum())",
        "1000000000000.0",
        ANEW,
    ),
    Work(
        "blosc2",
        "blosc2",
        "import blosc2, numpy as np\na = np.arange(2_000_000)\n",
        "int(blosc2.asarray(a, chunks=(200_000,))[:].sum())",
        "1999999000000",
        f"its pool cannot be ended or started anew: {IN_A_CHILD}",
        reason="blosc2",
        needs_proc=True,
    ),
    Work(
        "joblib, threads",
        "joblib",
        "from joblib import Parallel, delayed\n",
        "Parallel(n_jobs=2, backend='threading')(delayed(pow)(i, 2) for i in range(4))",
        "[0, 1, 4, 9]",
        "its threads end with the call",
    ),
    Work(
        "joblib, processes",
        "joblib",
        "from joblib import Parallel, delayed\n",
        "Parallel(n_jobs=2)(delayed(pow)(i, 2) for i in range(4))",
        "[0, 1, 4, 9]",
        "an idle pool starts new processes in a copy",
        needs_proc=True,
    ),
    Work(
        "tqdm",
        "tqdm",
        "from tqdm import tqdm\n",
        "sum(tqdm(range(4)))",
        "6",
        "a thread that only watches, and is not missed",
    ),
    Work(
        "ThreadPoolExecutor, idle",
        "concurrent.futures",
        "from concurrent.futures import ThreadPoolExecutor\npool = ThreadPoolExecutor(2)\n",
        "list(pool.map(abs, [-1, 2]))",
        "[1, 2]",
        "idle workers start anew in a copy; one that works is named",
    ),
    Work(
        "asyncio.to_thread",
        "asyncio",
        "import asyncio\n",
        "await asyncio.to_thread(pow, 2, 5)",
        "32",
        "as ThreadPoolExecutor",
    ),
    Work(
        "matplotlib",
        "matplotlib",
        "import matplotlib.pyplot as plt, io\nfig, ax = plt.subplots()\nax.plot([1, 2])\n"
        "ax.set_title('\\u6f22 \\U0001f600')\n",
        "b = io.BytesIO(); fig.savefig(b, format='png'); b.getvalue()[1:4]",
        "b'PNG'",
        NO_THREADS,
    ),
    Work(
        "seaborn",
        "seaborn",
        "import seaborn as sns, pandas as pd\nd = pd.DataFrame({'a': [1, 2, 3], 'b': [3, 2, 1]})\n",
        "len(sns.scatterplot(d, x='a', y='b').collections) > 0",
        "True",
        NO_THREADS,
    ),
    Work(
        "pillow",
        "PIL",
        "from PIL import Image\nImage.new('RGB', (50, 50), 'red').save('a.png')\n"
        "lazy = Image.open('a.png')\n",
        "lazy.convert('L').resize((5, 5)).getpixel((1, 1))",
        "76",
        NO_THREADS,
    ),
    Work(
        "shapely",
        "shapely",
        "from shapely import Point, union_all\n",
        "round(union_all([Point(i, 0).buffer(1) for i in range(50)]).area) > 90",
        "True",
        NO_THREADS,
    ),
    Work(
        "networkx",
        "networkx",
        "import networkx as nx\ng = nx.karate_club_graph()\n",
        "nx.shortest_path_length(g, 0, 33)",
        "2",
        NO_THREADS,
    ),
    Work(
        "sympy",
        "sympy",
        "import sympy as sp\nx = sp.symbols('x')\n",
        "sp.integrate(x**2, (x, 0, 3))",
        "9",
        NO_THREADS,
    ),
    Work(
        "statsmodels",
        "statsmodels",
        "import numpy as np, statsmodels.api as sm\nX = sm.add_constant(np.arange(50.0))\n",
        "sm.OLS(2 * np.arange(50.0) + 1, X).fit().params.round(3).tolist()",
        "[1.0, 2.0]",
        BLAS,
        needs_proc=True,
    ),
    Work(
        "plotly",
        "plotly",
        "import plotly.graph_objects as go\n",
        "len(go.Figure(go.Scatter(x=[1, 2], y=[3, 4])).to_dict()['data'])",
        "1",
        NO_THREADS,
    ),
    Work(
        "altair",
        "altair",
        "import altair as alt, pandas as pd\n",
        "'mark' in alt.Chart(pd.DataFrame({'a': [1]})).mark_bar().encode(x='a:Q').to_dict()",
        "True",
        NO_THREADS,
    ),
    Work(
        "bokeh",
        "bokeh",
        "from bokeh.plotting import figure\nfrom bokeh.embed import file_html\n",
        "f = figure(); f.line([1, 2], [1, 2]); 'bokeh' in file_html(f, 'cdn').lower()",
        "True",
        NO_THREADS,
    ),
    Work(
        "requests",
        "requests",
        "import requests\n",
        "requests.Request('GET', 'http://a.example/x', params={'q': 1}).prepare().url",
        "'http://a.example/x?q=1'",
        NO_THREADS,
    ),
    Work(
        "beautifulsoup4",
        "bs4",
        "from bs4 import BeautifulSoup\n",
        "BeautifulSoup('<p>a<b>b</b>', 'lxml').b.text",
        "'b'",
        NO_THREADS,
    ),
    Work(
        "openpyxl",
        "openpyxl",
        "import openpyxl\nw = openpyxl.Workbook(); w.active['A1'] = 3; w.save('a.xlsx')\n"
        "w = openpyxl.load_workbook('a.xlsx', read_only=True)\n",
        "w.active['A1'].value",
        "3",
        NO_THREADS,
    ),
    Work(
        "lxml",
        "lxml",
        "from lxml import etree\n",
        "etree.fromstring('<a><b/></a>').xpath('count(//b)')",
        "1.0",
        NO_THREADS,
    ),
)
