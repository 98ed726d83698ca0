"""Guest text on its way to a terminal: nothing in it is obeyed but what is meant to be."""

import io
import re
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.terminal import GuestWriter, View, escaped, one_line

WILD = st.text(st.sampled_from("a\n\t\r\x1b[0m3;1]52\x07\x9b\u202e\u2028é\udc80") | st.characters())
OBEYED = re.compile(r"\x1b\[[0-9;:]*m|[\r\n\t]")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def written(*parts: str, view: View | None = None, stream: io.StringIO | None = None) -> str:
    stream = stream or Terminal()
    writer = GuestWriter(stream, view)
    for part in parts:
        writer.write(part)
    writer.finish()
    return stream.getvalue()


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain é 漢\t\n", "plain é 漢\t\n"),
        ("\x1b]52;c;aGk=\x07", "\\x1b]52;c;aGk=\\x07"),
        ("\x1b[6n", "\\x1b[6n"),
        ("\x9b6n", "\\x9b6n"),
        ("a\rb", "a\\rb"),
        ("\x7f\x00\x08", "\\x7f\\x00\\x08"),
        ("\u202eabc\u2066", "\\u202eabc\\u2066"),
        ("\u2028\u2029", "\\u2028\\u2029"),
        ("\U000e0041", "\\U000e0041"),
        ("\udc80", "\\udc80"),
        ("family: \U0001f468\u200d\U0001f469", "family: \U0001f468\u200d\U0001f469"),
        ("no\xa0break", "no\xa0break"),
    ],
)
def test_controls_are_spelt_and_all_else_stays(text: str, shown: str) -> None:
    assert escaped(text) == shown


@given(WILD)
def test_escaped_text_has_no_control_but_line_ends_and_tabs(text: str) -> None:
    kinds = {unicodedata.category(char) for char in escaped(text) if char not in "\n\t"}
    assert kinds.isdisjoint({"Cc", "Cs", "Zl", "Zp"})


def test_a_part_of_a_line_stays_on_its_line() -> None:
    assert one_line("a\nb\tc\x1b") == "a\\nb\\tc\\x1b"


def test_a_terminal_gets_colours_and_carriage_returns_and_no_other_sequence() -> None:
    text = "\x1b[1;31mred\x1b[0m 50%\r100%\n\x1b[2J\x1b]0;title\x07\x1b[5A"
    assert written(text) == (
        "\x1b[1;31mred\x1b[0m 50%\r100%\n\\x1b[2J\\x1b]0;title\\x07\\x1b[5A\x1b[0m"
    )


def test_a_colour_left_on_is_taken_off_at_the_end() -> None:
    assert written("\x1b[8mhidden") == "\x1b[8mhidden\x1b[0m"
    assert written("plain") == "plain"


def test_a_sequence_that_never_ends_is_shown_at_the_end() -> None:
    assert written("a\x1b", "[3") == "a\\x1b[3"
    assert written("\x1b[" + "1;" * 40) == "\\x1b[" + "1;" * 40


@given(st.lists(WILD))
def test_the_split_of_a_stream_makes_no_difference_to_a_terminal(parts: list[str]) -> None:
    assert written(*parts) == written("".join(parts))


@given(st.lists(WILD))
def test_a_terminal_obeys_nothing_else(parts: list[str]) -> None:
    shown = written(*parts)
    assert escaped(OBEYED.sub("", shown)) == OBEYED.sub("", shown)


def test_what_is_no_terminal_gets_the_text_as_it_came() -> None:
    text = "\x1b]52;c;aGk=\x07\r\u202e"
    assert written(text, stream=io.StringIO()) == text


def test_bytes_reach_a_pipe_without_a_change_of_line_ends_or_encoding() -> None:
    data = io.BytesIO()
    writer = GuestWriter(io.TextIOWrapper(data, encoding="ascii", newline="\r\n"))
    writer.write("é\r\n\x1b\n")
    assert data.getvalue() == "é\r\n\x1b\n".encode()


def test_bytes_that_are_no_text_reach_a_pipe_and_no_terminal() -> None:
    data = io.BytesIO()
    writer = GuestWriter(io.TextIOWrapper(data))
    writer.write("\ufffd\n", b"\xff\n")
    writer.write_line("next")
    assert data.getvalue() == b"\xff\nnext\n"
    stream = Terminal()
    GuestWriter(stream).write("\ufffd\n", b"\x9b\n")
    assert stream.getvalue() == "\ufffd\n"


def test_between_the_words_of_a_front_end_carriage_returns_end_lines() -> None:
    assert written("10%\r20%\r\ndone\x1b[31m", view="plain") == "10%\n20%\ndone\\x1b[31m"


def test_a_line_of_its_own_starts_where_nothing_stands() -> None:
    stream = io.StringIO()
    writer = GuestWriter(stream)
    writer.write_line("first\n")
    writer.write("no end")
    writer.write_line("second")
    assert stream.getvalue() == "first\nno end\nsecond\n"
