"""Links to files that code made, as models write them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.dialects.citations import spans_of

PLACE = "sandbox:/mnt/data/"


def linked(text, *paths):
    """The part of `text` that each path's link is."""
    return {path: text[span.start : span.end] for path, span in spans_of(text, paths).items()}


@pytest.mark.parametrize(
    ("path", "link"),
    [
        ("plot.png", f"{PLACE}plot.png"),
        ("my plot.png", f"{PLACE}my%20plot.png"),
        ("my plot.png", f"{PLACE}my plot.png"),
        ("naïve.txt", f"{PLACE}na%C3%AFve.txt"),
        ("naïve.txt", f"{PLACE}na%c3%afve.txt"),
        ("naïve.txt", f"{PLACE}naïve.txt"),
        ("nai\u0308ve.txt", f"{PLACE}naïve.txt"),
        ("图 1.png", f"{PLACE}%E5%9B%BE%201.png"),
        ("图 1.png", f"{PLACE}图%201.png"),
        ("50%.csv", f"{PLACE}50%.csv"),
        ("50%.csv", f"{PLACE}50%25.csv"),
        ("a(1).csv", f"{PLACE}a(1).csv"),
        ("a(1).csv", f"{PLACE}a%281%29.csv"),
        ("sub/deep.csv", f"{PLACE}sub/deep.csv"),
        ("plot.png", "sandbox:mnt/data/plot.png"),
    ],
)
@pytest.mark.parametrize("shape", ["[it]({})", "See {}.", "<{}>", "{}", "at `{}`, so", "({})"])
def test_a_link_is_found_however_it_is_written(path, link, shape):
    text = shape.format(link)
    assert linked(text, "other.bin", path) == {path: link}


@pytest.mark.parametrize("order", [1, -1])
def test_a_file_is_not_taken_for_one_whose_name_it_begins(order):
    paths = ["data", "data.csv", "data.csv.gz", "data_2", "data/x"][::order]
    text = " ".join(f"[{path}]({PLACE}{path})" for path in paths[::-1])
    spans = spans_of(text, paths)
    assert {path: text[span.start : span.end] for path, span in spans.items()} == {
        path: f"{PLACE}{path}" for path in paths
    }
    assert all(text[span.end] == ")" for span in spans.values())


def test_a_longer_name_that_is_no_file_of_the_code_is_no_link():
    assert linked(f"[old]({PLACE}data.old) [two]({PLACE}data%20two)", "data") == {}


@pytest.mark.parametrize(
    "link",
    ["a_b.csv", "./a_b.csv", "sandbox:a_b.csv", "sandbox:/a_b.csv", "attachment://a_b.csv",
     "Sandbox:/mnt/data/a_b.csv", "sandbox:/mnt/data/a\\_b.csv", "/mnt/data/a\\_b.csv"],
)  # fmt: skip
def test_a_link_is_found_where_its_place_is_written_in_another_way(link):
    assert linked(f"See [it]({link}).", "a_b.csv") == {"a_b.csv": link}


@pytest.mark.parametrize(
    "text", ["a_b.csv", "see /mnt/data/a_b.csv", "[it](https://a_b.csv)", "[it](x/a_b.csv)",
             "[a_b.csv](other)", "sandbox: a_b.csv"],
)  # fmt: skip
def test_a_name_that_is_no_link_is_none(text):
    assert linked(text, "a_b.csv") == {}


def test_the_first_link_to_a_file_counts():
    text = f"[a]({PLACE}a.csv) and [again]({PLACE}a.csv)"
    assert spans_of(text, ["a.csv"])["a.csv"].start == text.index(PLACE)


@given(st.text(max_size=12), st.text(max_size=40))
def test_any_text_is_searched_without_an_exception(path, text):
    for span in spans_of(f"{PLACE}{text}", [path]).values():
        assert 0 <= span.start < span.end <= len(PLACE) + len(text)


@pytest.mark.parametrize("link", ["/mnt/data/plot.png", "file:///mnt/data/plot.png"])
def test_the_target_of_a_link_needs_no_scheme_and_a_path_in_a_sentence_is_none(link):
    assert linked(f"See [it]({link}).", "plot.png") == {"plot.png": link}
    assert linked(f"It is in {link}.", "plot.png") == {}
