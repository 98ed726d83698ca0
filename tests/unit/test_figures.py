"""Figures and images of a snippet as pictures: which, when, once, and why not."""

import base64
import os
from collections.abc import Iterator

import matplotlib.pyplot as plt
import pytest

from sandbox.guest.display import figures
from tests.unit.snippets import Snippets, snippets


@pytest.fixture
def session() -> Iterator[Snippets]:
    with snippets() as made:
        yield made
        plt.close("all")


def sizes(session: Snippets) -> list[tuple[int, int]]:
    """Width and height of the pictures shown, as their files say."""
    found = []
    for bundle, metadata in zip(session.bundles, session.metadata, strict=True):
        data = base64.b64decode(bundle["image/png"])
        assert data.startswith(b"\x89PNG\r\n\x1a\n")
        size = int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")
        assert size == (metadata["width"], metadata["height"])
        found.append(size)
    return found


def test_open_figures_are_shown_and_closed_at_the_end(session: Snippets) -> None:
    code = "import matplotlib.pyplot as plt\nplt.plot([1, 2])\nplt.figure()\nplt.plot([1])"
    text = session.text(code)
    assert text is not None
    assert text.startswith("[<matplotlib.lines.Line2D object")
    assert len(sizes(session)) == 2
    assert all(500 < width < 640 and 380 < height < 480 for width, height in sizes(session))
    assert session.bundles[0]["text/plain"] == "<Figure size 640x480 with 1 Axes>"
    assert plt.get_fignums() == []
    session.run("1")
    assert session.bundles == []


def test_show_shows_at_once_without_a_warning(
    session: Snippets, capsys: pytest.CaptureFixture[str], recwarn: pytest.WarningsRecorder
) -> None:
    shown_by_then: list[int] = []
    session.runner.namespace["note"] = lambda: shown_by_then.append(len(session.bundles))
    session.run(
        "import matplotlib.pyplot as plt\n"
        "plt.plot([1])\nplt.show()\nnote()\n"
        "fig, ax = plt.subplots()\nax.plot([1])\nfig.show()\nnote()\n"
        "plt.plot([1])\nplt.show(block=True)\nnote()"
    )
    assert shown_by_then == [1, 2, 3]
    assert len(sizes(session)) == 3
    assert [str(warning.message) for warning in recwarn] == []
    assert capsys.readouterr().err == ""


def test_figures_are_shown_although_the_snippet_raised(session: Snippets) -> None:
    assert session.run("import matplotlib.pyplot as plt\nplt.plot([1])\n1/0").ended == "raised"
    assert len(sizes(session)) == 1


def test_figures_of_an_interrupted_snippet_wait_for_the_next(session: Snippets) -> None:
    session.run("import matplotlib.pyplot as plt\nplt.plot([1])\nraise KeyboardInterrupt")
    assert session.bundles == []
    session.run("1")
    assert len(sizes(session)) == 1


def test_a_figure_is_shown_once(session: Snippets) -> None:
    made = "import matplotlib.pyplot as plt\nfig, ax = plt.subplots()\nax.plot([1])\n"
    assert session.text(made + "fig") == "<Figure size 640x480 with 1 Axes>"
    assert len(session.bundles) == 1
    session.run(made + "display(fig)")
    assert len(session.bundles) == 1
    session.run("fig")
    assert len(sizes(session)) == 1


def test_a_figure_of_its_own_is_shown_when_it_is_the_value(session: Snippets) -> None:
    session.run("from matplotlib.figure import Figure\nFigure(figsize=(2, 1)).subplots().figure")
    assert len(sizes(session)) == 1


def test_an_empty_figure_is_closed_silently(session: Snippets) -> None:
    session.run("import matplotlib.pyplot as plt\nplt.figure();")
    assert session.bundles == []
    assert plt.get_fignums() == []


def test_what_sticks_out_of_a_figure_is_in_the_picture(session: Snippets) -> None:
    session.run("import matplotlib.pyplot as plt\nplt.plot([1])\nplt.text(0, 0.85, 'low');")
    ((_, height),) = sizes(session)
    assert height > 600


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("plt.title('$\\\\nope$');", "ValueError: "),
        ("plt.gcf().set_size_inches(1000, 1000)", "ValueError: 10000000000 pixels, 25000000 are"),
    ],
)
def test_a_figure_that_cannot_be_drawn_says_why(session: Snippets, code: str, reason: str) -> None:
    session.run(f"import matplotlib.pyplot as plt\nplt.plot([1])\n{code}")
    (bundle,) = session.bundles
    assert bundle.keys() == {"text/plain"}
    assert f"\n<drawing of Figure failed: {reason}" in bundle["text/plain"]
    assert plt.get_fignums() == []


def test_the_backend_without_windows_is_preset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MPLBACKEND", raising=False)
    figures.preset_backend()
    assert os.environ["MPLBACKEND"] == "Agg"


def test_images_are_shown(session: Snippets) -> None:
    text = session.text("from PIL import Image\nImage.new('RGB', (20, 10))")
    assert sizes(session) == [(20, 10)]
    assert session.bundles[0]["text/plain"] == text
