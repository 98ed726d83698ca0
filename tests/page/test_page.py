"""The page in a real browser: what a person does with it, and what a snippet cannot do to it."""

import pytest
from page_talks import ASK, POWER
from playwright.sync_api import expect

pytestmark = pytest.mark.slow


def test_a_question_is_answered_with_thinking_code_output_and_words(visitor):
    visitor.answered(ASK, POWER)
    page = visitor.page
    expect(page.locator(".thinking").first).to_contain_text("I need an exact value")
    expect(page.locator(".run .code")).to_have_text("123**21")
    expect(page.locator(".run .output")).to_have_text(POWER)
    expect(page.locator(".message table td").first).to_have_text("21")
    expect(page.locator(".run .k-number").first).to_have_text("123")


def test_a_snippet_runs_in_the_scratch_pad_without_a_model(visitor):
    visitor.scratch()
    visitor.run("x = 6\nprint('seven')\nx * 7")
    output = visitor.page.locator(".run .output")
    expect(output).to_contain_text("seven")
    expect(output).to_contain_text("42")
