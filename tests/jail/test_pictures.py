"""Pictures reach the caller: figures whatever backend was asked for, images of every mode."""

from collections.abc import Iterator

import pytest

from sandbox import Limits, Policy, Sandbox, Session
from sandbox.outcome import Outcome


@pytest.fixture(scope="module")
def pictures() -> Iterator[Session]:
    """One session that has the libraries loaded."""
    limits = Limits(wall_s=120, cpu_s=100)
    with Sandbox(Policy(limits=limits), pool_size=0) as box, box.session() as session:
        session.run("import matplotlib.pyplot")
        yield session


DRAWN = """
import matplotlib.pyplot as plt
plt.plot([1, 2])
plt.show()
plt.get_backend().lower()"""


def assert_warned_of_a_window(outcome: Outcome, name: str) -> None:
    """A picture was shown in spite of that backend, with one warning at line 2."""
    assert (outcome.status, outcome.text) == ("completed", "'agg'"), outcome
    assert ["image/png" in one for one in outcome.displays] == [True]
    [line] = [one for one in outcome.stderr.splitlines() if "UserWarning" in one]
    assert f">:2: UserWarning: matplotlib backend '{name}'" in line
    assert "there is no display here" in line


@pytest.mark.parametrize(
    ("asked", "name"),
    [
        ("import matplotlib\nmatplotlib.use(backend='Qt5Agg', force=True)", "Qt5Agg"),
        ("import matplotlib.pyplot as plt\nplt.switch_backend('MacOSX')", "MacOSX"),
        ("import matplotlib\nmatplotlib.use('module://ipympl.x')", "module://ipympl.x"),
        *(
            (f"import matplotlib\n%matplotlib {name}", name)
            for name in ("qt", "tk", "widget", "notebook")
        ),
    ],
)
def test_a_backend_of_windows_is_warned_of_and_figures_are_shown(
    pictures: Session, asked: str, name: str
) -> None:
    assert_warned_of_a_window(pictures.run(asked + DRAWN), name)


def test_a_backend_of_windows_is_warned_of_before_it_is_loaded(box: Sandbox) -> None:
    outcome = box.run("import matplotlib\nmatplotlib.use('TkAgg')" + DRAWN)
    assert_warned_of_a_window(outcome, "TkAgg")


@pytest.mark.parametrize(
    ("name", "taken"),
    [("inline", "agg"), ("module://matplotlib_inline.backend_inline", "agg"), ("svg", "svg")],
)
def test_a_backend_without_windows_is_not_warned_of(
    pictures: Session, name: str, taken: str
) -> None:
    use = f"import matplotlib\nmatplotlib.use({name!r})\n%matplotlib inline"
    outcome = pictures.run(use + DRAWN)
    pictures.run("matplotlib.use('agg')")
    assert (outcome.status, outcome.text, outcome.stderr) == ("completed", repr(taken), "")
    assert ["image/png" in one for one in outcome.displays] == [True]
