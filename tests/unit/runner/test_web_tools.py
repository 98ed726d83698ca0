"""The web tools before their backends: what is read of a call, and what the model is told."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.config import PagesSettings, SearchSettings
from runner.errors import ConfigError, WebError
from runner.tools.web import WebTools, backend_of
from runner.tools.web_extractor import asked, passages
from runner.tools.web_search import WebSearch
from runner.transcript import Search, Source, ToolCall
from runner.web.charsets import CODECS, codec_of
from runner.web.folder import Folder, expression, page_of
from runner.web.metasearch import Metasearch, found_in
from runner.web.pages import document_of
from runner.web.search import source
from runner.web.searxng import SearXNG
from sandbox import Policy

FROGS = Source(url="https://frogs.example/", title="Frogs", snippet="They jump.")


class FixedBackend:
    def __init__(self, answer):
        self.answer = answer
        self.asked = []

    async def search(self, query, count):
        self.asked.append((query, count))
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    async def close(self):
        """Nothing is held."""


def call(**arguments) -> ToolCall:
    return ToolCall(id="a", name="web_search", arguments=json.dumps(arguments))


async def test_the_pages_found_are_numbered_for_the_model_and_kept_whole():
    backend = FixedBackend([FROGS, Source(url="https://b.example/")])
    result = await WebSearch(backend, results=3).run(call(query="  jumping\n frogs "))
    assert backend.asked == [("jumping frogs", 3)]
    assert result.shown == (
        "[1] Frogs\nhttps://frogs.example/\nThey jump.\n\n"
        "[2] https://b.example/\nhttps://b.example/"
    )
    assert result.details == Search(query="jumping frogs", sources=tuple(backend.answer))


async def test_a_backend_that_fails_is_told_to_the_model():
    result = await WebSearch(FixedBackend(WebError("It is down."))).run(call(query="frogs"))
    assert result.is_error
    assert result.shown == (
        "The search failed: It is down. Answer from what you know, and say that you could not"
        " search."
    )
    assert result.details == Search(query="frogs")


async def test_a_search_that_finds_nothing_says_so():
    result = await WebSearch(FixedBackend([])).run(call(query="frogs"))
    assert (result.is_error, result.shown) == (False, "The search found nothing. Try other words.")


@pytest.mark.parametrize("arguments", ["", "{}", '{"query": 7}', '{"query": "  "}'])
async def test_a_call_without_a_query_never_reaches_the_backend(arguments):
    backend = FixedBackend([])
    result = await WebSearch(backend).run(ToolCall(id="a", name="web_search", arguments=arguments))
    assert result.is_error
    assert "query" in result.shown
    assert backend.asked == []


@pytest.mark.parametrize(
    ("arguments", "urls", "goal"),
    [
        ('{"urls": ["https://a/", "https://a/", " https://b/ "], "goal": "x  y"}',
         ("https://a/", "https://b/"), "x y"),
        ('{"urls": "https://a/"}', ("https://a/",), ""),
        ('{"url": "https://a/"}', ("https://a/",), ""),
        ("https://a/", ("https://a/",), ""),
    ],
)  # fmt: skip
def test_urls_are_read_as_models_write_them(arguments, urls, goal):
    assert asked(arguments) == (urls, goal, "")


@pytest.mark.parametrize(
    "arguments", ["{}", '{"urls": []}', '{"urls": 7}', '{"urls": [""]}',
                  json.dumps({"urls": [f"https://{n}/" for n in range(6)]})],
)  # fmt: skip
def test_urls_that_are_none_or_too_many_are_told(arguments):
    assert asked(arguments)[2]


def test_of_a_long_page_the_paragraphs_that_fit_the_goal_are_shown_in_order():
    page = "\n".join([f"Filler sentence number {n}." for n in range(50)] + ["Toads croak at dusk."])
    page = f"Frogs croak too.\n{page}"
    shown = passages(page, "when do toads croak", 60)
    assert shown == (
        "[2 of 52 paragraphs, those that fit the goal]\nFrogs croak too.\nToads croak at dusk."
    )
    assert passages(page, "", 400).startswith("Frogs croak too.\nFiller")
    assert passages("short", "anything", 400) == "short"


@given(st.text(), st.text(), st.integers(0, 500))
def test_passages_of_any_text_fit_their_room(text, goal, room):
    assert len(passages(text, goal, room)) <= max(room, 200) + 120


@pytest.mark.parametrize(
    "row", [(None, "t", "s"), ("javascript:x", "t", "s"), ("/relative", "t", "s"), (7, "t", "s")]
)
def test_what_a_backend_gives_that_is_no_page_is_left_out(row):
    assert source(*row) is None


def test_titles_and_extracts_become_one_short_line():
    found = source("https://a/", " a\n b ", "x" * 900)
    assert found == Source(url="https://a/", title="a b", snippet="x" * 500)
    assert source("https://a/", None, 7) == Source(url="https://a/")


@pytest.mark.parametrize("answer", [b"", b"{", b"{}", b"7", b"[" * 100_000])
def test_an_answer_of_the_metasearch_that_cannot_be_read_is_an_error(answer):
    with pytest.raises(WebError, match="nothing that can be read"):
        found_in(answer)


@pytest.mark.parametrize("printed", ["", "only a title", "t\n", "t\n \n\t\n"])
def test_what_the_jail_prints_is_checked(printed):
    with pytest.raises(WebError, match="no text"):
        document_of(printed)


def test_what_the_jail_prints_is_a_title_and_a_text():
    assert document_of("Frogs  jump\nOne.\n\nTwo.\n") == ("Frogs jump", "One.\n\nTwo.")


@pytest.mark.parametrize(
    "label",
    ["punycode", "idna", "undefined", "rot13", "hex", "bz2", "zlib", "raw_unicode_escape",
     "unicode_escape", "utf-7", "uu", "quopri", "mbcs", "../x", "", "x" * 10_000, "\0"],
)  # fmt: skip
def test_what_is_no_charset_of_pages_is_none(label):
    assert codec_of(label) == ""


def test_every_charset_of_the_table_decodes_any_bytes_with_its_codec():
    anything = bytes(range(256)) * 40
    for label, codec in CODECS.items():
        assert codec_of(f' "{label.upper()}"') == codec
        assert len(anything.decode(codec, "replace")) > 1000


# ---- the folder ---------------------------------------------------------------------------------


@given(st.text())
def test_any_query_becomes_an_expression_without_syntax_of_its_own(query):
    words = expression(query).split(" OR ")
    assert all(word == "" or word.strip('"').isidentifier() or word[1:-1].isalnum() or "_" in word
               for word in words)  # fmt: skip
    assert expression(query).count('"') == 2 * sum(bool(word) for word in words)


def test_a_title_is_the_first_line_or_the_name():
    assert page_of("a/big_frogs.md", "\n# Big frogs #\nThey jump.") == (
        "Big frogs", "\n# Big frogs #\nThey jump.",
    )  # fmt: skip
    assert page_of("a/big_frogs.txt", "") == ("big frogs", "")
    html = "<title>Big\nfrogs</title><script>no()</script><p>They <b>jump</b>.</p>"
    assert page_of("x.html", html) == ("Big frogs", "They\njump\n.")


async def test_a_folder_is_searched_by_its_words_and_read_again_when_it_changes(tmp_path):
    (tmp_path / "toads.md").write_text("# Toads\nToads croak at dusk.")
    (tmp_path / "deep er").mkdir()
    (tmp_path / "deep er" / "frogs.txt").write_text("Frogs jumped far.\nNothing else.")
    (tmp_path / ".hidden.md").write_text("croak")
    (tmp_path / "data.bin").write_bytes(b"croak")
    (tmp_path / "link.md").symlink_to("/etc/passwd")
    folder = Folder(tmp_path)
    (found,) = await folder.search("Who croaks?", 5)
    assert (found.url, found.title) == ("local:toads.md", "Toads")
    assert found.snippet == "# Toads Toads croak at dusk."
    (found,) = await folder.search('jumping "NEAR(*', 5)
    assert found.url == "local:deep%20er/frogs.txt"
    assert await folder.text_of(found.url) == "Frogs jumped far.\nNothing else."
    assert await folder.search("root", 5) == []
    (tmp_path / "toads.md").unlink()
    (tmp_path / "newts.md").write_text("Newts croak never.")
    folder._fresh_until = 0.0
    assert [one.url for one in await folder.search("croak", 5)] == ["local:newts.md"]
    for url in ("local:../secret", "local:toads.md", "local:/etc/passwd"):
        with pytest.raises(WebError, match="no such local page"):
            await folder.text_of(url)
    await folder.close()
    with pytest.raises(WebError, match="closed"):
        await folder.search("croak", 5)


async def test_a_query_without_words_and_a_folder_that_went_away_are_errors(tmp_path):
    folder = Folder(tmp_path / "gone")
    with pytest.raises(WebError, match="no words"):
        await folder.search("?!", 5)
    with pytest.raises(WebError, match="not there"):
        await folder.search("frogs", 5)
    await folder.close()


# ---- settings -----------------------------------------------------------------------------------


def test_settings_choose_the_backend(tmp_path):
    assert isinstance(backend_of(SearchSettings()), Metasearch)
    searxng = SearchSettings(backend="searxng", url="http://127.0.0.1:8888/")
    assert isinstance(backend_of(searxng), SearXNG)
    assert isinstance(backend_of(SearchSettings(backend="folder", folder=str(tmp_path))), Folder)
    assert backend_of(SearchSettings(backend="none")) is None
    for wrong in (SearchSettings(backend="searxng"), SearchSettings(backend="folder")):
        with pytest.raises(ConfigError):
            backend_of(wrong)


async def test_a_tool_without_a_backend_is_not_offered():
    tools = WebTools.of(
        SearchSettings(backend="none"), PagesSettings(enabled=False), Policy(), shown_chars=800
    )
    assert tools.make({"web_search", "web_extractor"}) == []
    both = WebTools.of(SearchSettings(), PagesSettings(), Policy(), shown_chars=800)
    made = both.make({"web_search", "web_extractor", "code_interpreter"})
    assert [tool.spec.name for tool in made] == ["web_search", "web_extractor"]
    await tools.close()
    await both.close()
