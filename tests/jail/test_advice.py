"""An error that a jail causes says what to do: packages, places to write, programs not here."""

import ast
from collections.abc import Iterator

import pytest

from sandbox import Policy, Sandbox, Session
from sandbox.outcome import Outcome, Raised


@pytest.fixture(scope="module")
def advised() -> Iterator[Session]:
    with Sandbox(pool_size=0) as box, box.session() as session:
        session.run("0")  # From here on it has all that it holds.
        yield session


def raised(outcome: Outcome) -> Raised:
    assert isinstance(outcome, Raised)
    return outcome


def test_a_missing_package_is_told_with_what_is_there_instead(advised: Session) -> None:
    error = raised(advised.run("import pandsa")).error
    assert "Installed here: pandas" in error.message
    assert "-m pip install pandsa" in error.message
    assert error.message.strip().splitlines()[-1] in error.traceback
    error = raised(advised.run("import polars_of_nowhere.sub")).error
    assert "'polars_of_nowhere' is not installed" in error.message


@pytest.mark.parametrize(
    "code",
    [
        "open('/home/alice/report.txt', 'w')",
        "import os\nos.makedirs('/content/out')",
        "open('/mnt/user-data/outputs/a.csv', 'w')",
        "import pandas\npandas.DataFrame().to_csv('/content/a.csv')",
        "open('../report.txt', 'w')",
    ],
)
def test_a_path_that_cannot_be_written_is_told_with_one_that_can(
    advised: Session, code: str
) -> None:
    assert "/mnt/data" in raised(advised.run(code)).error.message


def test_where_to_write_is_told_by_the_names_of_the_tier() -> None:
    with Sandbox(Policy(tier="landlock"), pool_size=0) as box, box.session() as session:
        error = raised(session.run("open('/tmp/report.txt', 'w')")).error
        place = session.run("import os, tempfile\nos.getcwd(), tempfile.gettempdir()").text
    assert all(one in error.message for one in ast.literal_eval(place or ""))


ADVICE = {  # what raises: what is said to do
    "from google.colab import drive": "is not Google Colab",
    "raise ModuleNotFoundError(\"No module named 'google'\", name='google')": "Google Colab",
    "import pandas\npandas.DataFrame().to_markdown()": "'tabulate' is not installed",
    "import plotly.express as px\npx.bar(x=[1], y=[2]).write_image('a.png')": "fig.write_html",
    "raise RuntimeError('Requested MovieWriter (ffmpeg) not available')": "writer='pillow'",
    "raise ValueError('unknown file extension: .mp4')": "writer='pillow'",
}


@pytest.mark.parametrize("code", ADVICE)
def test_what_is_not_here_is_told_with_what_to_do(advised: Session, code: str) -> None:
    error = raised(advised.run(code)).error
    assert ADVICE[code] in error.message
    assert error.message.strip().splitlines()[-1] in error.traceback
