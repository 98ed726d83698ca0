"""Snippets behave as in real Python: warnings, tasks, children, files, the machine they see."""

import json
import os
import sys
from collections.abc import Iterator

import pytest

from sandbox import Limits, Policy, Sandbox, Session
from sandbox.outcome import Outcome, Raised
from tests.jail.echoes import text

EASY = Limits(wall_s=120, cpu_s=100)


@pytest.fixture(scope="module")
def real() -> Iterator[Session]:
    """One session for all that do not look at what was there before."""
    with Sandbox(Policy(limits=EASY), pool_size=0) as box, box.session() as session:
        session.run("1")  # From now on what the host holds for it stays the same.
        yield session


def raised(outcome: Outcome) -> Raised:
    assert isinstance(outcome, Raised), outcome
    return outcome


# ---- warnings and errors ------------------------------------------------------------------------


def test_a_warning_is_shown_by_every_snippet_that_causes_it(real: Session) -> None:
    divide = "import numpy as np\nnp.array([1.0]) / np.array([{}])"
    for number in ("0.0", "-0.0"):
        assert "RuntimeWarning: divide by zero" in real.run(divide.format(number)).stderr
    for _ in range(2):
        outcome = real.run("import warnings\nwarnings.warn('column renamed')")
        assert outcome.stderr.count("column renamed") == 2  # The message, and its line.


def test_missing_glyphs_are_told_once_at_the_line_that_shows_them(real: Session) -> None:
    outcome = real.run(
        "import matplotlib.pyplot as plt\nfrom matplotlib.font_manager import findfont\n"
        "plt.rcParams['font.family'] = ['DejaVu Sans']\n"
        "plt.plot([1, 2]); plt.title('\\ue000\\ue001\\ue000')\nplt.show()"
    )
    assert len(outcome.displays) == 1
    assert outcome.stderr.count("UserWarning") == 1
    assert "\ue000\ue001:" in outcome.stderr
    assert ">:5: UserWarning" in outcome.stderr


def test_the_streams_are_as_the_interpreter_makes_them(real: Session) -> None:
    code = "import sys\n[s.mode for s in (sys.stdin, sys.stdout, sys.stderr)], sys.flags.utf8_mode"
    assert text(real, code) == "(['r', 'w', 'w'], 0)"
    code = "import pathlib\npathlib.Path('u').write_text('é😀')\nlen(open('u').read())"
    assert text(real, code) == "2"


@pytest.mark.slow
def test_clusters_are_found_where_proc_is_not_shown() -> None:
    code = (
        "import numpy as np\nfrom sklearn.cluster import KMeans\nimport threadpoolctl\n"
        "found = KMeans(2, n_init=2, random_state=0).fit([[0, 0], [0, 1], [9, 9], [9, 8]])\n"
        "len(set(found.labels_)), {one['user_api'] for one in threadpoolctl.threadpool_info()}"
        " >= {'openmp'}"
    )
    with Sandbox(Policy(tier="landlock", limits=EASY), pool_size=0) as box:
        outcome = box.run(code)
    assert outcome.text == "(2, True)", outcome


def test_a_debugger_is_refused_with_a_word(real: Session) -> None:
    for code in ("breakpoint()", "import pdb; pdb.set_trace()"):
        assert "print the values instead" in raised(real.run(code)).error.message


# ---- files --------------------------------------------------------------------------------------


def test_a_file_that_was_not_closed_has_its_content(real: Session) -> None:
    real.run("report = open('report.txt', 'w')\nreport.write('total: 42\\n')")
    assert real.get("report.txt") == b"total: 42\n"


def test_what_was_saved_to_tmp_is_an_artifact_that_can_be_fetched(real: Session) -> None:
    outcome = real.run("open('/tmp/chart.png', 'wb').write(b'png')")
    assert [(one.path, one.size_bytes, one.mime) for one in outcome.artifacts] == [
        ("/tmp/chart.png", 3, "image/png")
    ]
    assert real.get("/tmp/chart.png") == b"png"
    assert "/tmp/chart.png" not in real.files()
    assert real.run("import os\nos.remove('/tmp/chart.png')").artifacts[0].change == "deleted"


def test_what_was_saved_to_the_home_directory_is_an_artifact_too(real: Session) -> None:
    outcome = real.run("open('/home/user/report.txt', 'w').write('x')")
    assert [(one.path, one.size_bytes) for one in outcome.artifacts] == [
        ("/tmp/home/report.txt", 1)
    ]
    assert real.get("/home/user/report.txt") == real.get("/tmp/home/report.txt") == b"x"
    outcome = real.run(
        "import pathlib, shutil\ndesktop = pathlib.Path.home() / 'Desktop' / 'plots'\n"
        "desktop.mkdir(parents=True)\n(desktop / 'a.svg').write_text('<svg/>')"
    )
    assert [one.path for one in outcome.artifacts] == ["/tmp/home/Desktop/plots/a.svg"]
    outcome = real.run(
        "import os\nos.remove('/home/user/report.txt'); shutil.rmtree(desktop.parent)"
    )
    assert {one.change for one in outcome.artifacts} == {"deleted"}
    assert real.run("1").artifacts == ()


@pytest.mark.parametrize(
    "place", ["/tmp", "/home/user", "/tmp/home", "/home/user/sub", "/mnt/data"]
)
def test_a_directory_is_called_by_the_name_that_it_was_entered_by(
    real: Session, place: str
) -> None:
    code = (
        "import os, pathlib, pickle\n"
        f"os.makedirs({place!r}, exist_ok=True)\n"
        f"before = os.getcwd(); os.chdir({place!r})\n"
        "here = pathlib.Path.cwd()\n"
        "seen = [os.getcwd(), os.getcwdb().decode(), str(here), os.path.abspath('.'),"
        " os.path.realpath('.'), str((here / 'x').resolve().parent),"
        " pickle.loads(pickle.dumps(os.getcwd))()]\n"
        "relative = pathlib.Path('x').resolve().relative_to(here)\n"
        "os.chdir(before); set(seen), str(relative), os.getcwd()"
    )
    assert text(real, code) == str(({place}, "x", "/mnt/data"))


def test_a_place_that_is_not_there_is_told_as_python_tells_it(real: Session) -> None:
    error = raised(real.run("import os\nos.chdir('/tmp/nowhere')")).error
    assert error.type == "FileNotFoundError"
    assert "interpreter.py" not in error.traceback


def test_scratch_in_tmp_is_no_artifact(real: Session) -> None:
    outcome = real.run(
        "import tempfile, pathlib\nf = tempfile.NamedTemporaryFile()\nf.write(b'x')\nf.flush()\n"
        "pathlib.Path.home().joinpath('.cache').mkdir(exist_ok=True)\n"
        "pathlib.Path.home().joinpath('.cache/x').write_text('x')"
    )
    assert outcome.artifacts == ()


# ---- programs -----------------------------------------------------------------------------------


def test_a_one_shot_run_ends_as_a_program_does() -> None:
    code = (
        "import atexit, threading, time\n"
        "atexit.register(lambda: print('exit'))\n"
        "threading.Thread(target=lambda: (time.sleep(0.1), print('thread'))).start()\n"
        "class Final:\n    def __del__(self): print('final')\n"
        "kept = Final()\nreport = open('r.txt', 'w')\nreport.write('x' * 10)\nprint('end')"
    )
    with Sandbox(pool_size=0) as box:
        outcome = box.run(code)
        assert outcome.stdout == "end\nthread\nexit\nfinal\n"
        assert [(one.path, one.size_bytes) for one in outcome.artifacts] == [("r.txt", 10)]


def test_a_program_that_raises_ends_as_a_program_too() -> None:
    with Sandbox(pool_size=0) as box:
        outcome = box.run("import atexit\natexit.register(print, 'exit')\n1 / 0")
    assert raised(outcome).error.type == "ZeroDivisionError"
    assert outcome.stdout == "exit\n"


def test_a_thread_that_never_ends_ends_at_the_limit() -> None:
    code = "import threading\nthreading.Thread(target=threading.Event().wait).start()"
    with Sandbox(Policy(limits=Limits(wall_s=1)), pool_size=0) as box:
        assert box.run(code).status == "limit_exceeded"


def test_a_script_has_a_file_and_a_name(real: Session) -> None:
    with Sandbox(pool_size=0) as box, box.session() as session:
        outcome = session.run(
            "import argparse, os, sys\n"
            "print(__file__, os.path.dirname(os.path.abspath(__file__)))\n"
            "print(argparse.ArgumentParser().prog, sys.argv)",
            script="tool.py",
        )
    assert outcome.stdout == ("/mnt/data/tool.py /mnt/data\ntool.py ['/mnt/data/tool.py']\n")
    assert text(real, "import argparse\nargparse.ArgumentParser().prog") == "'snippet'"


# ---- children -----------------------------------------------------------------------------------


def test_children_get_the_flags_of_an_interpreter_without_options(real: Session) -> None:
    code = "import subprocess, sys\nsubprocess._args_from_interpreter_flags(), sys.flags.no_site"
    assert text(real, code) == "([], 0)"


@pytest.mark.slow
def test_loky_finds_its_packages(real: Session) -> None:
    outcome = real.run(
        "from joblib import Parallel, delayed\n"
        "Parallel(n_jobs=2)(delayed(pow)(i, 2) for i in range(4))"
    )
    assert (outcome.text, outcome.stderr) == ("[0, 1, 4, 9]", "")


# ---- the machine --------------------------------------------------------------------------------


def test_the_machine_is_the_sessions(real: Session) -> None:
    memory = EASY.memory_bytes or Policy().limits.memory_bytes
    code = (
        "import psutil, os\nfree = psutil.virtual_memory()\npsutil.swap_memory()\n"
        "(free.total, psutil.cpu_percent() >= 0, psutil.cpu_count(logical=False) is not None,\n"
        " abs(psutil.Process().create_time() - __import__('time').time()) < 3600,\n"
        " 'processor' in open('/proc/cpuinfo').read(), open('/proc/loadavg').read()[:4],\n"
        " float(open('/proc/uptime').read().split()[0]) > 0)"
    )
    assert text(real, code) == str((memory, True, True, True, True, "0.00", True))


def test_the_network_is_the_sessions(real: Session) -> None:
    code = "import psutil\nlist(psutil.net_io_counters(pernic=True)), psutil.net_connections()"
    assert text(real, code) == "(['lo'], [])"
    code = (
        "import socket\nservers = [socket.create_server(('127.0.0.1', 0)),"
        " socket.create_server(('::1', 0), family=socket.AF_INET6)]\n"
        "ports = {server.getsockname()[1] for server in servers}\n"
        "seen = psutil.net_connections()\n[server.close() for server in servers]\n"
        "{one.laddr.port for one in seen} == ports, {one.status for one in seen}"
    )
    assert text(real, code) == "(True, {'LISTEN'})"


def test_what_the_c_library_asks_the_kernel_for_is_the_sessions_too(real: Session) -> None:
    code = "import os\nos.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE') == 2**30"
    assert text(real, code) == "True"
    assert text(real, "0 < os.sysconf('SC_AVPHYS_PAGES') <= os.sysconf('SC_PHYS_PAGES')") == "True"
    code = "os.getloadavg() == tuple(map(float, open('/proc/loadavg').read().split()[:3]))"
    assert text(real, code) == "True"
    assert "strings or integers" in raised(real.run("os.sysconf([])")).error.message
    code = "import psutil\nlist(psutil.net_if_addrs()), psutil.net_if_stats()['lo'].isup"
    assert text(real, code) == "(['lo'], True)"


def test_programs_that_ask_for_the_machine_run(real: Session) -> None:
    for command in ("free -b", "ps -e", "nproc"):
        code = f"import subprocess\nsubprocess.run({command!r}.split(), capture_output=True)"
        outcome = real.run(code)
        if raised_error(outcome) != "FileNotFoundError":  # The host has no such program.
            assert "returncode=0" in (outcome.text or ""), outcome


def raised_error(outcome: Outcome) -> str:
    return outcome.error.type if isinstance(outcome, Raised) else ""


def test_no_other_file_of_the_kernel_is_there(real: Session) -> None:
    found = text(
        real,
        "import os\nnames = 'kallsyms cmdline modules sys interrupts keys kcore mounts net"
        " config.gz timer_list sysrq-trigger kmsg iomem partitions bus fs irq driver'.split()\n"
        "[n for n in names if os.path.exists('/proc/' + n)], sorted("
        "n for n in os.listdir('/proc') if not n.isdecimal())",
    )
    assert found == "([], ['self', 'thread-self'])"
    code = "for n in ('meminfo', 'cpuinfo'):\n    open('/proc/' + n, 'w')"
    assert raised(real.run(code)).error.type in ("OSError", "PermissionError")


def test_the_name_of_the_machine_is_the_jails(real: Session) -> None:
    code = (
        "import os, platform, socket\n{platform.node(), os.uname().nodename, socket.gethostname()}"
    )
    assert text(real, code) == "{'cellblock'}"


# ---- packages -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "command", ["pip install nosuchthing", "python -m pip install nosuchthing"]
)
def test_pip_says_at_once_that_there_is_no_network(real: Session, command: str) -> None:
    outcome = real.run(
        f"import subprocess\nr = subprocess.run({command.split()}, capture_output=True)\n"
        "print(r.returncode, r.stderr.decode())"
    )
    assert outcome.stdout.startswith("1 ERROR: There is no network here")
    assert "numpy" in outcome.stdout
    assert outcome.stdout.rstrip().endswith("There is no network.")


def test_pip_still_lists_what_is_there(real: Session) -> None:
    code = "import subprocess, sys\nsubprocess.run('pip list', shell=True, capture_output=True)"
    outcome = real.run(f"{code}.stdout.decode()")
    assert "numpy" in (outcome.text or "")


# ---- notebooks ----------------------------------------------------------------------------------


def test_what_notebooks_add_to_python_is_understood(real: Session) -> None:
    outcome = real.run("%matplotlib inline\nx = 3\n!echo {x} $HOME\nfiles = !echo a; echo b\nfiles")
    assert (outcome.stdout, outcome.text) == ("3 /tmp/home\n", "['a', 'b']")
    assert real.run("%time 1 + 1").text == "2"
    assert real.run("%%time\ny = x\ny").stdout.startswith("CPU times: ")
    assert real.run("%%writefile made.py\nz = 1").artifacts[0].path == "made.py"
    assert "Docstring:\nReturn the sum" in real.run("sum?").stdout
    assert "no network" in raised(real.run("!pip install no-such-thing")).error.message
    assert "write what it does in Python" in raised(real.run("%nosuch x")).error.message


def test_notebook_forms_can_be_switched_off() -> None:
    for policy in (Policy(notebook=False), Policy(language="restricted")):
        with Sandbox(policy, pool_size=0) as box:
            assert box.run("%matplotlib inline\n1").status in ("raised", "refused")


def test_a_percent_sign_in_a_text_is_no_magic(real: Session) -> None:
    assert (
        text(real, "a = '''\n%time\n!ls\n'''\nb = (7\n%4)\na.split(), b") == "(['%time', '!ls'], 3)"
    )


# ---- charts -------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_plotly_chart_is_shown_in_every_way(real: Session) -> None:
    real.run(
        "import plotly.graph_objects as go, plotly.io as pio, plotly.offline as po\n"
        "fig = go.Figure(go.Bar(x=['a', 'b'], y=[1, 3]))"
    )
    for way in ("fig", "fig.show()", "pio.show(fig)", "po.init_notebook_mode(); po.iplot(fig)"):
        [bundle] = real.run(way).displays
        assert len(bundle["text/html"]) < 50_000
        assert json.loads(bundle["application/vnd.plotly.v1+json"])["data"]


@pytest.mark.slow
def test_a_large_chart_arrives(real: Session) -> None:
    [bundle] = real.run(
        "import plotly.express as px, numpy as np\n"
        "px.scatter(x=np.random.rand(60_000), y=np.random.rand(60_000))"
    ).displays
    assert len(bundle["text/html"]) > 1_000_000
    assert "application/vnd.plotly.v1+json" in bundle


@pytest.mark.slow
def test_charts_of_bokeh_altair_and_pictures_are_shown(real: Session) -> None:
    [bundle] = real.run(
        "from bokeh.plotting import figure, show\np = figure()\np.line([1, 2], [3, 4])\nshow(p)"
    ).displays
    assert "<html" in bundle["text/html"]
    [bundle] = real.run(
        "import altair as alt, pandas as pd\n"
        "alt.Chart(pd.DataFrame({'a': [1], 'b': [2]})).mark_bar().encode(x='a', y='b').show()"
    ).displays
    assert {"text/html", "application/vnd.vegalite.v6+json"} <= set(bundle) or any(
        name.startswith("application/vnd.vegalite") for name in bundle
    )
    [bundle] = real.run("from PIL import Image\nImage.new('RGB', (4, 4)).show()").displays
    assert "image/png" in bundle


@pytest.mark.slow
def test_numba_caches_a_function_of_a_snippet(real: Session) -> None:
    code = "from numba import njit\n@njit(cache=True)\ndef add(a, b):\n    return a + b\nadd(40, 2)"
    assert text(real, code) == "42"


def test_a_live_plot_leaves_its_last_frame(real: Session) -> None:
    outcome = real.run(
        "import matplotlib.pyplot as plt\nfrom IPython.display import HTML, clear_output\n"
        "for epoch in range(6):\n    clear_output(wait=True)\n    print('epoch', epoch)\n"
        "    plt.figure(figsize=(1, 1)); plt.plot([0, epoch]); plt.show()\nHTML('<b>')"
    )
    assert outcome.stdout.count("epoch") == 6
    assert ["image/png" in outcome.displays[0], outcome.displays[1]["text/html"]] == [True, "<b>"]


@pytest.mark.slow
@pytest.mark.parametrize("method", ["spawn", "forkserver", "fork"])
def test_processes_that_start_anew_find_the_sessions_functions(real: Session, method: str) -> None:
    real.run(
        "import math\nfrom concurrent.futures import ProcessPoolExecutor\n"
        "import multiprocessing as mp\nbase = sum([10])\nprint('once')\n"
        "class Point:\n    def __init__(self, x): self.x = x\n"
        "def work(x): return Point(math.floor(x) + base)"
    )
    outcome = real.run(
        f"with ProcessPoolExecutor(2, mp_context=mp.get_context({method!r})) as pool:\n"
        "    print([point.x for point in pool.map(work, [1.5, 2.5])])"
    )
    assert (outcome.stdout, outcome.stderr) == ("[11, 12]\n", "")


def test_a_session_describes_itself(real: Session) -> None:
    found = real.describe()
    assert found.layers == real.enforcement
    assert (found.workspace, found.network) == ("/mnt/data", ())
    assert text(real, "import sys\nsys.executable") == repr(found.interpreter)


FONT = """
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
pen = TTGlyphPen(None)
pen.moveTo((0, 0)); pen.lineTo((500, 0)); pen.lineTo((500, 700)); pen.closePath()
glyph = pen.glyph()
build = FontBuilder(1000, isTTF=True)
build.setupGlyphOrder([".notdef", "sale"])
build.setupCharacterMap({0x9500: "sale"})
build.setupGlyf({".notdef": glyph, "sale": glyph})
build.setupHorizontalMetrics({".notdef": (600, 0), "sale": (600, 0)})
build.setupHorizontalHeader(ascent=800, descent=-200)
build.setupNameTable({"familyName": "Noto Sans CJK SC", "styleName": "Regular"})
build.setupOS2()
build.setupPost()
build.save("cjk.ttf")
import matplotlib.font_manager
matplotlib.font_manager.fontManager.addfont("cjk.ttf")
"""


@pytest.mark.slow
def test_an_installed_font_gives_the_glyphs_of_another_script(box: Sandbox) -> None:
    with box.session() as session:
        assert session.run(FONT, limits=EASY).status == "completed"
        outcome = session.run(
            "import matplotlib.pyplot as plt\nplt.plot([1, 2]); plt.title('\\u9500')\nplt.show()",
            limits=EASY,
        )
        assert (len(outcome.displays), outcome.stderr) == (1, "")


def test_nothing_of_the_engine_need_be_there_to_import() -> None:
    """Another interpreter shows no file of the engine to a session."""
    plain = os.path.realpath(sys.executable)
    with Sandbox(Policy(environment=plain), pool_size=0) as box, box.session() as session:
        assert session.run("%time 6 * 7").text == "42"
        assert session.run("!echo hi\nsum?").stdout.startswith("hi\nType:")
        [bundle] = session.run("from IPython.display import HTML\nHTML('<b>')").displays
        assert bundle["text/html"] == "<b>"
        code = (
            "def work(x): return x + 1\nfrom concurrent.futures import ProcessPoolExecutor\n"
            "import multiprocessing as mp\n"
            "with ProcessPoolExecutor(1, mp_context=mp.get_context('spawn')) as pool:\n"
            "    print(list(pool.map(work, [1])))"
        )
        assert session.run(code, limits=EASY).stdout == "[2]\n"


def test_a_slow_import_is_named_with_what_makes_it_fast(box: Sandbox) -> None:
    with box.session() as session:
        code = (
            "import importlib.util, time\ntime.sleep(0.7)\nX = importlib.util.find_spec(__name__)"
        )
        session.put("geopandas.py", code)
        session.put("other.py", code)
        find = "import importlib.util\nimportlib.util.find_spec('geopandas').loader.get_source"
        assert session.run(find).hints == ()
        first = session.run("import other, geopandas\ngeopandas.X is geopandas.__spec__")
        [hint] = first.hints
        assert first.text == "True"
        assert hint.startswith("`import geopandas` took ")
        assert 'Policy(preload=["geopandas"])' in hint
        assert session.run("import geopandas").hints == ()


def test_a_module_of_the_workspace_is_imported(real: Session) -> None:
    real.put("own_module.py", "def double(x):\n    return 2 * x\n")
    assert text(real, "import own_module\nown_module.double(4)") == "8"
    assert text(real, "open('later.py', 'w').write('X = 5')\nimport later\nlater.X") == "5"
    code = "import subprocess, sys\nsubprocess.run([sys.executable, '-c', 'import later'])"
    assert "returncode=0" in (text(real, code) or "")


def test_a_bar_for_notebooks_is_one_of_text_without_widgets(real: Session) -> None:
    outcome = real.run("from tqdm.notebook import tqdm, trange\nlen([*tqdm([1, 2]), *trange(3)])")
    assert (outcome.status, outcome.text) == ("completed", "5")
    assert "2/2" in outcome.stderr
