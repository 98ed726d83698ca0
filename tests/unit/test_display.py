"""What a snippet shows: bundles by IPython's protocol, tables, and the caps."""

import base64
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas  # type: ignore[import-untyped]
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox.guest.display import bundles, tables
from sandbox.guest.display.board import FIRST, LAST, SHORT_TEXT, TOTAL_CAP
from sandbox.guest.display.bundles import bundle_from, bundle_of
from sandbox.protocol.frames import FrameReader
from sandbox.protocol.messages import TO_HOST_CAP_BYTES, Display, pack, unpack
from tests.unit.snippets import Snippets, snippets

PNG = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + (30).to_bytes(4, "big") + (20).to_bytes(4, "big")


@pytest.fixture
def session() -> Iterator[Snippets]:
    with snippets() as made:
        yield made


def thing(**methods: Any) -> object:
    """An object with these methods and a short repr; a method returns or raises what is given."""

    def method(result: Any) -> Any:
        def call(self: object, **options: object) -> Any:
            if isinstance(result, BaseException):
                raise result
            return result

        return call

    members = {name: method(result) for name, result in methods.items()}
    return type("Thing", (), {"__repr__": lambda self: "<thing>", **members})()


def shown(value: object) -> dict[str, str]:
    return bundle_of(value, repr(value)).data


# ---- the protocol -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "result", "mime", "text"),
    [
        ("_repr_html_", "<b>", "text/html", "<b>"),
        ("_repr_markdown_", "# é", "text/markdown", "# é"),
        ("_repr_latex_", "$x$", "text/latex", "$x$"),
        ("_repr_svg_", "<svg/>", "image/svg+xml", "<svg/>"),
        ("_repr_svg_", b"<svg/>", "image/svg+xml", "<svg/>"),
        ("_repr_png_", b"png", "image/png", base64.b64encode(b"png").decode()),
        ("_repr_png_", "cG5n\n", "image/png", "cG5n"),
        ("_repr_jpeg_", (b"jpg", {"width": 3}), "image/jpeg", base64.b64encode(b"jpg").decode()),
        ("_repr_pdf_", b"pdf", "application/pdf", base64.b64encode(b"pdf").decode()),
        ("_repr_json_", {"a": [1, None]}, "application/json", '{"a": [1, null]}'),
        ("_repr_javascript_", "f()", "application/javascript", "f()"),
    ],
)
def test_each_method_gives_its_form(method: str, result: Any, mime: str, text: str) -> None:
    assert shown(thing(**{method: result})) == {"text/plain": "<thing>", mime: text}


def test_a_mime_bundle_comes_first_and_may_bring_metadata() -> None:
    data = {"text/html": "<i>", "application/vnd.plotly.v1+json": {"data": []}}
    metadata = {"text/html": {"isolated": True}, "title": "t", "deep": {}, "nan": float("nan")}
    value = thing(_repr_mimebundle_=(data, metadata), _repr_html_="<b>", _repr_latex_="$x$")
    assert bundle_of(value, "text") == (
        {
            "text/plain": "text",
            "text/html": "<i>",
            "application/vnd.plotly.v1+json": '{"data": []}',
            "text/latex": "$x$",
        },
        {"isolated": True, "title": "t"},
        True,
    )


def test_a_png_is_measured_and_stands_for_the_jpeg() -> None:
    bundle = bundle_of(thing(_repr_png_=PNG, _repr_jpeg_=b"jpg"), "")
    assert set(bundle.data) == {"text/plain", "image/png"}
    assert bundle.metadata == {"width": 30, "height": 20}


@pytest.mark.parametrize("result", [None, NotImplementedError()])
def test_a_method_that_has_no_form_to_give_is_passed_over(result: Any) -> None:
    assert bundle_of(thing(_repr_html_=result), "") == ({"text/plain": ""}, {}, False)


@pytest.mark.parametrize(
    ("methods", "note"),
    [
        ({"_repr_html_": ValueError("a\nb")}, "<_repr_html_ of Thing failed: ValueError: a b>"),
        ({"_repr_html_": 5}, "[text/html left out: TypeError: int instead of text]"),
        ({"_repr_json_": {"a": float("nan")}}, "[application/json left out: ValueError: "),
        ({"_repr_mimebundle_": {"application/json": "{"}}, "[application/json left out: JSOND"),
        ({"_repr_png_": "%%%"}, "[image/png left out: Error: "),
        ({"_repr_html_": "é" * 900_000}, "[text/html left out: 5400002 characters, 5242880 are"),
        ({"_repr_png_": b"x" * 5_000_000}, "[image/png left out: 6666668 characters, 5242880 are"),
        ({"_repr_png_": b"x" * 6_000_000}, "[image/png left out: 6000000 bytes, 5242880 are"),
    ],
)
def test_a_form_that_fails_or_floods_is_replaced_by_a_note(
    methods: dict[str, Any], note: str
) -> None:
    data = shown(thing(**methods))
    assert data.keys() == {"text/plain"}
    assert data["text/plain"].startswith(f"<thing>\n{note}")


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
def test_an_interrupt_and_an_exit_pass_through(kind: type[BaseException]) -> None:
    with pytest.raises(kind):
        shown(thing(_repr_html_=kind()))


def test_an_object_that_has_every_attribute_is_shown_as_text(session: Snippets) -> None:
    session.run("class Any:\n    def __getattr__(self, name): return lambda *a, **k: 'x'")
    session.run("from unittest.mock import MagicMock\ndisplay(MagicMock(name='m'), Any())")
    assert [set(bundle) for bundle in session.bundles] == [{"text/plain"}, {"text/plain"}]


def test_json_of_arrays_and_dates_is_made_of_lists_and_text(session: Snippets) -> None:
    session.run(
        "import datetime, numpy as np\n"
        "data = {'n': np.int64(1), 'a': np.arange(3), 'd': datetime.date(2020, 1, 2), 'o': {1j}}\n"
        "display({'application/json': data}, raw=True)"
    )
    assert json.loads(session.bundles[0]["application/json"]) == {
        "n": 1,
        "a": [0, 1, 2],
        "d": "2020-01-02",
        "o": "{1j}",
    }


# ---- echo and display ---------------------------------------------------------------------------


def test_a_rich_echo_is_text_and_a_bundle(session: Snippets) -> None:
    session.run("class Foo:\n    def __repr__(self): return 'foo'")
    assert session.text("Foo._repr_html_ = lambda self: '<b>'\nFoo()") == "foo"
    assert session.bundles == [{"text/plain": "foo", "text/html": "<b>"}]
    session.run("Foo();")
    assert session.bundles == []


@pytest.mark.parametrize("code", ["5", "[1]", "object()", "print", "{1: 2}"])
def test_a_plain_echo_is_no_bundle(session: Snippets, code: str) -> None:
    assert session.text(code)
    assert session.bundles == []


def test_display_shows_each_object(session: Snippets) -> None:
    assert session.text("display({'a': 1}, 'x')") is None
    assert session.bundles == [{"text/plain": "{'a': 1}"}, {"text/plain": "'x'"}]


def test_display_takes_ready_bundles(session: Snippets) -> None:
    session.run("display({'text/plain': 'x', 'text/html': '<i>'}, raw=True, metadata={'k': 1})")
    assert session.bundles == [{"text/plain": "x", "text/html": "<i>"}]
    assert session.metadata == [{"k": 1}]


def test_display_can_choose_forms(session: Snippets) -> None:
    session.run("b = {'text/plain': 'x', 'text/html': '<i>', 'text/latex': '$'}")
    session.run("html = ['text/html']")
    session.run("display(b, raw=True, include=html)\ndisplay(b, raw=True, exclude=html)")
    assert [list(bundle) for bundle in session.bundles] == [
        ["text/plain", "text/html"],
        ["text/plain", "text/latex"],
    ]


def test_an_object_that_displays_itself_does(session: Snippets) -> None:
    session.run("class Foo:\n    def _ipython_display_(self): display('me')\ndisplay(Foo())")
    assert session.bundles == [{"text/plain": "'me'"}]
    session.run("Foo()")
    assert session.bundles == [{"text/plain": "'me'"}]
    session.run("class Foo:\n    def _ipython_display_(self): raise ValueError\ndisplay(Foo())")
    assert session.bundles == [{"text/plain": "<display failed: ValueError>"}]


def test_what_was_printed_is_flushed_before_a_display(
    session: Snippets, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []

    class Stream:
        def flush(self) -> None:
            order.append("flush")
            raise ValueError

    monkeypatch.setattr(session, "show", lambda *_: order.append("emit"))
    monkeypatch.setattr(sys, "stdout", Stream())
    session.run("display(1)")
    assert order == ["flush", "emit"]


def test_between_snippets_nothing_is_displayed(session: Snippets) -> None:
    session.run("def show(): display('late')")
    session.runner.namespace["show"]()
    assert session.bundles == []


# ---- caps ---------------------------------------------------------------------------------------


def test_of_too_many_displays_the_first_and_the_last_are_kept(session: Snippets) -> None:
    session.run("for i in range(150): display(i)")
    assert [bundle["text/plain"] for bundle in session.bundles] == [
        *map(str, range(FIRST)),
        f"[{150 - FIRST - LAST} displays left out here: the first {FIRST} and the last {LAST} of"
        " a snippet are kept]",
        *map(str, range(150 - LAST, 150)),
    ]
    session.run("display(1)")
    assert session.bundles == [{"text/plain": "1"}]


def test_of_too_many_characters_the_first_give_way(session: Snippets) -> None:
    session.run("b = {'text/plain': 'img', 'image/png': bytes(3_000_000)}")
    session.run("for i in range(6): display(b, raw=True)\ndisplay(1)")
    note = (
        "img\n[image/png left out: 4000007 characters; all displays of a snippet may have"
        f" {TOTAL_CAP}, and later ones came]"
    )
    assert session.bundles[0] == {"text/plain": note}
    assert [set(bundle) for bundle in session.bundles[1:6]] == [{"text/plain", "image/png"}] * 5
    assert session.bundles[6:] == [{"text/plain": "1"}]


def test_long_text_gives_way_too(session: Snippets) -> None:
    session.run("b = {'image/png': bytes(3_930_000)}")
    session.run(f"display('x' * {SHORT_TEXT * 2})\nfor i in range(4): display(b, raw=True)")
    assert session.bundles[0]["text/plain"].startswith("[display left out: 20004 characters;")
    assert all("image/png" in bundle for bundle in session.bundles[1:])


# ---- updates ------------------------------------------------------------------------------------


def test_an_update_takes_the_place_of_what_was_shown(session: Snippets) -> None:
    session.run("display('a')\nh = display('b', display_id=True)\ndisplay('c')\nh.update('d')")
    assert [bundle["text/plain"] for bundle in session.bundles] == ["'a'", "'d'", "'c'"]


def test_of_many_updates_the_last_is_kept(session: Snippets) -> None:
    session.run("h = display(0, display_id='n')\nfor k in range(1, 1000): h.update(k)")
    assert session.bundles == [{"text/plain": "999"}]


def test_all_displays_of_an_id_are_updated(session: Snippets) -> None:
    session.run("h = display(1, display_id='n')\nh.display(2)\ndisplay(3, display_id='n')")
    session.run("h.update(4)")
    assert session.bundles == [{"text/plain": "4"}]
    session.run("for n in (1, 2): display(n, display_id='n')\ndisplay(5, display_id='n', update=1)")
    assert session.bundles == [{"text/plain": "5"}, {"text/plain": "5"}]


def test_a_clearing_forgets_what_was_shown_at_once_or_when_the_next_comes(
    session: Snippets,
) -> None:
    clear = "from IPython.display import clear_output\ndisplay(1)\n"
    session.run(f"{clear}clear_output()")
    assert session.bundles == []
    session.run(f"{clear}clear_output(wait=True)")
    assert session.bundles == [{"text/plain": "1"}]
    session.run(f"{clear}clear_output(wait=True)\ndisplay(2)")
    assert session.bundles == [{"text/plain": "2"}]


def test_a_loop_that_clears_leaves_its_last_picture(session: Snippets) -> None:
    session.run(
        "from IPython.display import clear_output\n"
        "for k in range(500):\n    clear_output(wait=True)\n    display(k)\n    display(-k)"
    )
    assert session.bundles == [{"text/plain": "499"}, {"text/plain": "-499"}]


def test_changes_that_are_many_are_not_all_sent(session: Snippets) -> None:
    sent = 0
    show = session.show

    def count(*arguments: Any) -> None:
        nonlocal sent
        sent += 1
        show(*arguments)

    session.show = count  # type: ignore[method-assign,assignment]
    session.run(
        "b = {'image/png': bytes(300_000)}\nh = display(b, raw=True, display_id='n')\n"
        "for k in range(300): h.update(b, raw=True)\nh.update('end')"
    )
    assert sent < 100
    assert session.bundles == [{"text/plain": "'end'"}]


# ---- forms that are too long --------------------------------------------------------------------


def test_a_form_that_is_too_long_becomes_a_file(session: Snippets, tmp_path: Path) -> None:
    session.runner.enter(str(tmp_path))
    page = "<p>" * 2_000_000
    session.run("display({'text/plain': 'page', 'text/html': '<p>' * 2_000_000}, raw=True)")
    [bundle] = session.bundles
    assert bundle == {
        "text/plain": "page\n[text/html is in the file display-1.html: 6000002 characters,"
        " 5242880 are shown]"
    }
    assert (tmp_path / "display-1.html").read_text() == page
    session.run("display({'image/gif': bytes(6_000_000)}, raw=True)")
    assert (tmp_path / "display-2.gif").stat().st_size == 6_000_000


@pytest.mark.slow
@given(
    data=st.dictionaries(
        st.text(max_size=5) | st.sampled_from(["text/plain", "text/html", "image/png"]),
        st.none() | st.text() | st.binary() | st.integers() | st.lists(st.floats()),
    ),
    metadata=st.dictionaries(st.text(), st.none() | st.floats() | st.integers() | st.text()),
)
def test_any_bundle_is_a_message_that_the_host_accepts(
    data: dict[str, object], metadata: dict[str, object]
) -> None:
    bundle = bundle_from(data, metadata)
    message = Display("n", bundle.data, bundle.metadata)
    (frame,) = FrameReader(TO_HOST_CAP_BYTES).feed(pack(message))
    assert unpack("from_guest", frame) == message


def test_the_largest_bundle_fits_a_frame() -> None:
    flood = dict.fromkeys([f"text/x{i}" for i in range(10_000)], "\U0001f600" * 80_000)
    value = thing(_repr_png_=b"x" * 3_900_000, _repr_mimebundle_=flood)
    bundle = bundle_of(value, "\x00" * bundles.TEXT_CAP)
    assert "left out: " in bundle.data["text/plain"]
    frame = pack(Display("n", bundle.data, bundle.metadata))
    assert 10 * bundles.MiB < len(frame) < TO_HOST_CAP_BYTES


# ---- tables -------------------------------------------------------------------------------------

FRAME = (
    "import pandas as pd\n"
    "df = pd.DataFrame({'a': [1.5, None, float('inf')], 'b': ['x', None, 'z' * 500],"
    " 't': pd.to_datetime(['2020-01-02', None, '2021-01-01'])}, index=['p', 'q', 'r'])\n"
)


def test_a_table_is_shown_as_text_html_and_a_sample(session: Snippets) -> None:
    text = session.text(FRAME + "df")
    (bundle,) = session.bundles
    assert bundle["text/plain"] == text == repr(session.runner.namespace["df"])
    assert '<table border="1" class="dataframe">' in bundle["text/html"]
    sample = json.loads(bundle["application/json"])
    assert sample["dtypes"][0] == "float64"
    del sample["dtypes"]
    assert sample == {
        "shape": [3, 3],
        "columns": ["a", "b", "t"],
        "index": ["p", "q", "r"],
        "rows": [
            [1.5, "x", "2020-01-02T00:00:00"],
            [None, None, None],
            ["inf", "z" * tables.CELL_CAP, "2021-01-01T00:00:00"],
        ],
    }


def test_a_sample_of_a_large_table_has_the_full_shape() -> None:
    table = pandas.DataFrame(1, index=range(1000), columns=[("x", n) for n in range(80)])
    sample = json.loads(shown(table)["application/json"])
    assert sample["shape"] == [1000, 80]
    assert len(sample["rows"]) == len(sample["index"]) == tables.ROWS_SAMPLED
    assert len(sample["rows"][0]) == len(sample["columns"]) == tables.COLUMNS_SAMPLED
    assert sample["columns"][1] == "('x', 1)"


def test_a_series_is_a_table_of_one_column() -> None:
    series = pandas.Series([1, 2], name="s")
    data = shown(series)
    assert "<th>s</th>" in data["text/html"]
    assert json.loads(data["application/json"]) == {
        "shape": [2],
        "columns": ["s"],
        "dtypes": ["int64"],
        "index": [0, 1],
        "rows": [[1], [2]],
    }


def test_a_table_whose_cells_fail_is_still_shown() -> None:
    class Bad:
        def __str__(self) -> str:
            raise ValueError("cell")

        __repr__ = __str__

    table = pandas.DataFrame({"a": [1]})
    table["b"] = pandas.Series([Bad()], dtype=object)
    bundle = bundle_of(table, "text")
    assert "<sample of DataFrame failed: ValueError: cell>" in bundle.data["text/plain"]
