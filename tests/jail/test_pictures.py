"""Pictures reach the caller: figures whatever backend was asked for, images of every mode."""

import base64
import io
from collections.abc import Iterator

import pytest
from PIL import Image

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


@pytest.mark.parametrize(
    ("mode", "color", "shown", "pixel"),
    [
        ("F", 128.0, "L", 128),
        ("I", 200, "L", 200),
        ("I;16", 1000, "I;16", 1000),
        ("I;16B", 7, "L", 7),
        ("CMYK", (0, 255, 255, 0), "RGB", (255, 0, 0)),
        ("YCbCr", (255, 128, 128), "RGB", (255, 255, 255)),
        ("HSV", (0, 255, 255), "RGB", (255, 0, 0)),
        ("LA", (9, 77), "LA", (9, 77)),
        ("La", (0, 255), "LA", (0, 255)),
        ("RGBa", (0, 0, 255, 255), "RGBA", (0, 0, 255, 255)),
        ("P", 0, "P", 0),
        ("1", 1, "1", 255),
    ],
)
def test_an_image_of_any_mode_is_shown(
    pictures: Session, mode: str, color: object, shown: str, pixel: object
) -> None:
    code = f"from PIL import Image\nimage = Image.new({mode!r}, (3, 2), {color!r})"
    for way in ("image", "display(image)", "image.show()"):
        outcome = pictures.run(f"{code}\n{way}")
        [bundle] = outcome.displays
        image = Image.open(io.BytesIO(base64.b64decode(bundle["image/png"])))
        assert (image.size, image.mode, image.getpixel((0, 0))) == ((3, 2), shown, pixel)
        assert f"mode={mode} size=3x2" in bundle["text/plain"]
        assert "image/jpeg" not in bundle
        assert outcome.stderr == ""


@pytest.mark.parametrize(
    ("mode", "numbers", "shades"),
    [
        ("F", (0.0, 0.5, 1.0), [0, 128, 255]),
        ("F", (0.5, 0.5, 0.5), [128, 128, 128]),
        ("F", (-1.0, 0.0, 1.0), [0, 128, 255]),
        ("F", (0.0, 100.0, 200.0), [0, 100, 200]),
        ("I", (0, 5000, 10000), [0, 128, 255]),
        ("F", (0.0, float("inf"), 9.0), [0, 255, 9]),
    ],
)
def test_numbers_of_an_image_are_told_apart_by_shades(
    pictures: Session, mode: str, numbers: tuple[float, ...], shades: list[int]
) -> None:
    code = (
        f"from PIL import Image\nfrom math import inf\nimage = Image.new({mode!r}, (3, 1))\n"
        f"for at, number in enumerate({numbers!r}): image.putpixel((at, 0), number)\nimage"
    )
    [bundle] = pictures.run(code).displays
    image = Image.open(io.BytesIO(base64.b64decode(bundle["image/png"])))
    assert [image.getpixel((at, 0)) for at in range(3)] == shades


def test_an_image_that_is_too_large_says_so(pictures: Session) -> None:
    outcome = pictures.run("from PIL import Image\nImage.new('F', (6000, 5000))")
    [bundle] = outcome.displays
    assert "30000000 pixels, 25000000 are allowed" in bundle["text/plain"]
