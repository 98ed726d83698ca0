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
    reason = "the session has live Python threads (busy_0)"
    assert (outcome.survives, outcome.survives_reason) == (False, reason)


def test_a_thread_that_is_not_harmless_is_named(box):
    with box.session() as session:
        outcome = session.run(
            "import threading, time\n"
            "threading.Thread(target=time.sleep, args=(60,), daemon=True, name='worker-7').start()"
        )
        outcome = session.run("1")
        assert not outcome.survives
        assert outcome.survives_reason == "the session has live Python threads (worker-7)"
        with pytest.raises(CopyRefused, match="worker-7"):
            session.checkpoint()
