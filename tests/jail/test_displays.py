"""Rich results arrive at the caller: bundles, plots and tables, within caps."""

import base64

from sandbox import Session


def test_an_object_shows_itself_by_the_ipython_protocol(session: Session) -> None:
    outcome = session.run(
        "class Card:\n    def _repr_html_(self): return '<b>card</b>'\n"
        "    def __repr__(self): return 'card'\nCard()"
    )
    assert outcome.text == "card"
    assert [bundle["text/html"] for bundle in outcome.displays] == ["<b>card</b>"]


def test_displays_come_in_order_and_beside_the_output(session: Session) -> None:
    outcome = session.run("print('a')\ndisplay(1)\nprint('b')\ndisplay('two')")
    assert outcome.stdout == "a\nb\n"
    assert [bundle["text/plain"] for bundle in outcome.displays] == ["1", "'two'"]


def test_an_open_figure_is_a_png_at_the_end_of_the_snippet(session: Session) -> None:
    outcome = session.run("import matplotlib.pyplot as plt\n_ = plt.plot([1, 2])")
    [bundle] = outcome.displays
    assert base64.b64decode(bundle["image/png"]).startswith(b"\x89PNG")
    assert session.run("plt.get_fignums()").text == "[]"


def test_a_table_comes_as_text_and_html(session: Session) -> None:
    outcome = session.run("import pandas\npandas.DataFrame({'a': [1, 2]})")
    [bundle] = outcome.displays
    assert "<table" in bundle["text/html"]
    assert outcome.text is not None
    assert "a" in outcome.text


def test_a_repr_that_raises_or_floods_does_not_harm_the_session(session: Session) -> None:
    session.run(
        "class Bad:\n    def __repr__(self): raise ValueError('no')\n"
        "class Flood:\n    def _repr_html_(self): return 'x' * 50_000_000"
    )
    assert session.run("Bad()").status in ("completed", "raised")
    flood = session.run("Flood()")
    assert sum(len(item) for bundle in flood.displays for item in bundle.values()) < 50_000_000
    assert session.run("1").text == "1"
