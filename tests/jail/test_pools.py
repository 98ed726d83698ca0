"""Libraries with threads of their own: what works after a kill, a rollback and in a branch."""

import pytest

from sandbox import CopyRefused, Limits

WORK = {
    "scikit-learn": (
        "import numpy as np\nfrom sklearn.cluster import KMeans\n"
        "X = np.random.default_rng(0).normal(size=(3000, 5))\n"
        "model = KMeans(3, n_init=1, random_state=0).fit(X)\n",
        "model.predict(X).shape",
        "(3000,)",
    ),
    "numba": (
        "import numba, numpy as np\n@numba.njit(parallel=True)\ndef total(a):\n    s = 0.0\n"
        "    for i in numba.prange(a.size): s += a[i]\n    return s\n",
        "total(np.ones(100000))",
        "100000.0",
    ),
}
LONG, SHORT = Limits(wall_s=120, cpu_s=120), Limits(wall_s=20)
pytestmark = pytest.mark.slow


@pytest.mark.parametrize("library", WORK)
def test_a_pool_works_after_a_kill_and_after_a_rollback(box, tier, library):
    if (tier, library) == ("landlock", "scikit-learn"):
        pytest.skip("threadpoolctl reads /proc, which needs namespaces.")
    setup, use, right = WORK[library]
    with box.session() as session:
        assert session.run(setup + use, limits=LONG).text == right
        killed = session.run("import ctypes; ctypes.string_at(0)")
        assert (killed.state, killed.survives) == ("rolled_back", True)
        assert session.run(use, limits=SHORT).text == right
        mark = session.checkpoint()
        session.rollback(mark)
        assert session.run(use, limits=SHORT).text == right


@pytest.mark.parametrize("library", WORK)
def test_a_pool_works_in_a_branch(box, tier, library):
    if tier != "namespaces":
        pytest.skip("A branch needs namespaces.")
    setup, use, right = WORK[library]
    with box.session() as session:
        session.run(setup + use, limits=LONG)
        branch = session.fork()
        assert branch.run(use, limits=SHORT).text == right
        branch.close()


def test_a_finished_bar_of_tqdm_costs_no_survival(box):
    with box.session() as session:
        session.run("kept = [1]")
        session.run("from tqdm import tqdm\nfor i in tqdm(range(3)): pass")
        assert session.run("1").survives
        assert session.run("import os; os._exit(1)").state == "rolled_back"
        assert session.run("kept").text == "[1]"


IDLE = {
    "a ThreadPoolExecutor": (
        "from concurrent.futures import ThreadPoolExecutor\npool = ThreadPoolExecutor(2)",
        "list(pool.map(abs, [-1, 2, -3]))",
        "[1, 2, 3]",
    ),
    "asyncio": ("import asyncio", "await asyncio.to_thread(abs, -1)", "1"),
}


@pytest.mark.parametrize("kind", IDLE)
def test_idle_workers_start_anew_in_a_copy(session, kind):
    setup, use, right = IDLE[kind]
    session.run(setup)
    for _ in range(2):
        outcome = session.run(use, limits=SHORT)
        assert (outcome.text, outcome.survives) == (right, True)
        assert session.run("import os; os._exit(1)").state == "rolled_back"
    mark = session.checkpoint()
    session.rollback(mark)
    assert session.run(use, limits=SHORT).text == right


def test_a_worker_that_works_is_named(session):
    outcome = session.run(
        "import time\nfrom concurrent.futures import ThreadPoolExecutor\n"
        "pool = ThreadPoolExecutor(1, thread_name_prefix='busy')\n"
        "later = pool.submit(time.sleep, 60)"
    )
    reason = "the session has live Python threads (busy_0): await the results of the executor"
    assert (outcome.survives, outcome.survives_reason) == (False, reason)


def test_a_thread_that_is_not_harmless_is_named(box):
    with box.session() as session:
        outcome = session.run(
            "import threading, time\n"
            "threading.Thread(target=time.sleep, args=(60,), daemon=True, name='worker-7').start()"
        )
        outcome = session.run("1")
        assert not outcome.survives
        assert "live Python threads (worker-7): join them" in outcome.survives_reason
        with pytest.raises(CopyRefused, match="worker-7"):
            session.checkpoint()


CALL = "Parallel(n_jobs=2)(delayed(pow)(i, 2) for i in range(4))"
PARALLEL = "from joblib import Parallel, delayed\n" + CALL
EXECUTOR = """\
import concurrent.futures, multiprocessing
def double(x):
    return 2 * x
executor = concurrent.futures.ProcessPoolExecutor(2, multiprocessing.get_context("{}"))
list(executor.map(double, [1, 2]))"""
PROCESSES = {
    "joblib": (PARALLEL, CALL, "[0, 1, 4, 9]"),
    **{
        method: (EXECUTOR.format(method), "list(executor.map(double, [3, 4]))", "[6, 8]")
        for method in ("fork", "spawn", "forkserver")
    },
}


@pytest.fixture
def processes(box, tier):
    if tier != "namespaces":
        pytest.skip("Semaphores of multiprocessing need /dev/shm, which needs namespaces.")
    with box.session() as session:
        yield session


@pytest.mark.parametrize("pool", PROCESSES)
def test_an_idle_pool_of_processes_is_made_anew_in_a_copy(processes, pool):
    setup, use, right = PROCESSES[pool]
    started = processes.run(setup, limits=LONG)
    assert started.survives, started
    mark = processes.checkpoint()
    for _ in range(2):
        assert processes.run("import os; os._exit(1)").state == "rolled_back"
        used = processes.run(use, limits=LONG)
        assert (used.text, used.stderr, used.survives) == (right, "", True)
    processes.rollback(mark)
    assert processes.run(use, limits=LONG).text == right
    with processes.fork() as branch:
        assert branch.run(use, limits=LONG).text == right
    used = processes.run(use, limits=LONG)
    assert (used.text, used.stderr) == (right, "")


def test_a_pool_that_was_shut_down_stays_so_in_a_copy(processes):
    processes.run(EXECUTOR.format("fork"), limits=LONG)
    assert processes.run("import os; os._exit(1)").state == "rolled_back"
    processes.run("executor.shutdown()")
    assert processes.run("executor.submit(double, 1)").error.type == "RuntimeError"


def test_what_keeps_a_session_from_surviving_is_named_with_what_to_do(processes):
    for code, told in (
        ("import multiprocessing\npool = multiprocessing.Pool(2)", "close and join the Pool"),
        ("pool.terminate(); pool.join()", ""),
        (
            "import concurrent.futures, time\ne = concurrent.futures.ProcessPoolExecutor(1)\n"
            "future = e.submit(time.sleep, 60)",
            "await the results of its pool",
        ),
        ("for process in e._processes.values(): process.kill()\ne.shutdown()", ""),
        ("import threading\ntimer = threading.Timer(60, print); timer.start()", "cancel the timer"),
        ("timer.cancel(); timer.join()", ""),
        ("import subprocess\nchild = subprocess.Popen(['sleep', '60'])", "sleep): wait for it"),
        ("child.kill(); child.wait()", ""),
        ("manager = multiprocessing.Manager()", "): shut the manager down"),
        ("manager.shutdown()", ""),
        (
            "one = multiprocessing.Process(target=time.sleep, args=(60,), name='one')\none.start()",
            "one): join it, or end it",
        ),
    ):
        assert told in processes.run(code, limits=LONG).survives_reason, code
