"""The page in a real browser: what a person does with it, and what a snippet cannot do to it."""

import json
import tempfile
import time

import pytest
from browsing import Visitor
from cutting import Behind, wired
from page_talks import (
    ASK,
    ATTACK,
    FILE,
    HELD,
    HOSTILE,
    KEEPS_OPEN,
    MADE,
    PLOT,
    POWER,
    REFUSED,
    SET_1,
    SET_2,
    SHOW,
    SLOW,
    PageModel,
)
from playwright.sync_api import expect
from serving import config, directory, running, serving
from talking import on_loop

pytestmark = pytest.mark.slow
ANSWER_S = 10
FLOOD = """
import json
class Forged:
    def _repr_html_(self): return '<table></table>'
    def _repr_json_(self):
        wide = list(range(100_000))
        return {'shape': [1], 'columns': wide, 'index': [0], 'rows': [wide]}
class Marks:
    def _repr_markdown_(self): return '**a [b]( `c ' * 80_000
display(Forged())
display(Marks())
for _ in range(20_000): print('x' * 999)
"""
DROP = """([name, text]) => {
  const data = new DataTransfer();
  data.items.add(new File([text], name));
  const zone = document.querySelector('.main');
  for (const kind of ['dragenter', 'dragover', 'drop'])
    zone.dispatchEvent(new DragEvent(kind, {dataTransfer: data, bubbles: true, cancelable: true}));
}"""


def test_a_question_is_answered_with_thinking_code_output_and_words(visitor):
    visitor.answered(ASK, POWER)
    page = visitor.page
    expect(page.locator(".thinking").first).to_contain_text("I need an exact value")
    expect(page.locator(".run .code")).to_have_text("123**21")
    expect(page.locator(".run .output")).to_have_text(POWER)
    expect(page.locator(".message table td").first).to_have_text("21")
    expect(page.locator(".run .k-number").first).to_have_text("123")
    expect(page.locator(".bill")).to_contain_text("793, 134")


def test_an_answer_is_shown_while_it_is_written(visitor, server):
    visitor.ask(HELD)
    message = visitor.page.locator(".message")
    expect(message).to_have_text("One, ")
    expect(visitor.page.get_by_role("button", name="Stop")).to_be_visible()
    on_loop(server, set_event(server.model.release))
    expect(message).to_have_text("One, two, three.")
    server.model.release.clear()


async def set_event(event):
    event.set()


def test_stop_ends_the_snippet_and_a_follow_up_knows_of_the_question(visitor, server):
    visitor.ask(SLOW)
    page = visitor.page
    expect(page.locator(".run header")).to_contain_text("Running")
    page.get_by_role("button", name="Stop").click()
    expect(page.locator(".turn")).to_contain_text("Stopped.")
    visitor.answered(SHOW, "Shown.")
    expect(page.locator(".output").last).to_contain_text("NameError")
    asked = server.model.scripts[SHOW].requests[-1].entries
    assert [one.text for one in asked if one.role == "user"][-2:] == [SLOW, SHOW]


def test_a_dropped_file_is_read_by_code(visitor):
    visitor.page.locator(".main").wait_for()
    visitor.page.evaluate(DROP, ["data.csv", "1\n2\n3\n"])
    expect(visitor.page.locator(".attached")).to_contain_text("data.csv")
    visitor.answered(FILE, "Three lines.")
    expect(visitor.page.locator(".output")).to_have_text("3 lines")
    expect(visitor.page.locator(".panel")).to_contain_text("data.csv")


def test_a_plot_is_a_picture_in_the_answer(visitor):
    visitor.answered(PLOT, "Here it is.")
    plot = visitor.page.locator("img.plot")
    expect(plot).to_have_count(1)
    assert plot.evaluate("image => image.decode().then(() => image.naturalWidth)") > 100


def test_a_file_that_code_made_is_downloaded_from_the_link_in_the_answer(visitor):
    visitor.answered(MADE, "Here:")
    with visitor.page.expect_download() as waited:
        visitor.page.locator(".message p a.file").click()
    assert waited.value.suggested_filename == "squares.csv"
    assert waited.value.path().read_text() == "0,0\n1,1\n2,4\n3,9\n4,16\n"


def test_a_branch_has_variables_of_its_own(visitor):
    visitor.answered(SET_1, "x is 1.")
    page = visitor.page
    page.get_by_role("button", name="Try in a branch").click()
    expect(page.locator(".tree strong")).to_have_text(f"a branch: {SET_1}")
    visitor.answered(SET_2, "x is 2.")
    page.locator(".tree").get_by_role("button", name=SET_1, exact=True).click()
    expect(page.locator(".tree strong")).to_have_text(SET_1)
    visitor.answered(SHOW, "Shown.")
    expect(page.locator(".output").last).to_have_text("x = 1")


def test_a_conversation_goes_back_to_a_point_with_its_variables(visitor):
    visitor.answered(SET_1, "x is 1.")
    visitor.answered(SET_2, "x is 2.")
    page = visitor.page
    points = page.locator(".point")
    expect(points).to_have_count(2)
    expect(points.nth(0)).to_contain_text("After answer 1")
    points.nth(0).get_by_role("button", name="Roll back").click()
    expect(page.locator(".note")).to_contain_text("After answer 1")
    expect(page.locator("article.turn")).to_have_count(1)
    visitor.answered(SHOW, "Shown.")
    expect(page.locator(".output").last).to_have_text("x = 1")
    page.reload()
    expect(page.locator("article.turn")).to_have_count(2)


def test_the_scratch_pad_goes_back_and_branches(visitor):
    visitor.scratch()
    visitor.run("x = 1")
    page = visitor.page
    page.get_by_role("button", name="Keep this point").click()
    expect(page.locator(".point")).to_contain_text("Point 1")
    visitor.run("x = 2")
    page.get_by_role("button", name="Roll back").click()
    expect(page.locator(".note")).to_contain_text("Point 1")
    visitor.run("x")
    expect(page.locator(".output").last).to_have_text("1")
    page.get_by_role("button", name="Try in a branch").click()
    expect(page.locator(".tree strong")).to_have_text("a branch 2")
    visitor.run("x = 9")
    page.locator(".tree").get_by_role("button", name="Session 1").click()
    visitor.run("x")
    expect(page.locator(".output").last).to_have_text("1")


def test_the_best_of_two_answers_goes_on_as_the_conversation(visitor):
    visitor.answered(SET_1, "x is 1.")
    page = visitor.page
    visitor.answered(SHOW, "Shown.")
    page.get_by_label("Best of").select_option("2")
    page.get_by_role("button", name="Ask again").click()
    columns = page.locator(".column")
    expect(columns).to_have_count(2)
    for index in range(2):
        expect(columns.nth(index).locator(".output")).to_have_text("x = 1")
        expect(columns.nth(index).get_by_role("button", name="Choose")).to_be_enabled()
    columns.nth(1).get_by_role("button", name="Choose").click()
    expect(page.locator("article.turn")).to_have_count(3)
    visitor.answered(SHOW, "Shown.")
    expect(page.locator(".output").last).to_have_text("x = 1")


def test_a_session_that_cannot_be_branched_says_why(visitor):
    visitor.answered(KEEPS_OPEN, "It is open.")
    page = visitor.page
    page.get_by_label("Best of").select_option("2")
    visitor.ask(SHOW)
    expect(page.get_by_role("alert")).to_contain_text("the session has an open pipe")
    page.get_by_role("button", name="Try in a branch").click()
    expect(page.locator(".note")).to_contain_text("an open pipe")
    page.get_by_label("Best of").select_option("1")
    page.get_by_role("button", name="Ask again").last.click()
    expect(page.locator(".message").last).to_have_text("Shown.")


def test_conversations_are_kept_and_opened_again(visitor):
    visitor.answered(SET_1, "x is 1.")
    page = visitor.page
    page.get_by_role("button", name="New conversation").first.click()
    visitor.answered(SET_2, "x is 2.")
    page.reload()
    expect(page.locator(".message")).to_have_text("x is 2.")
    page.locator(".talks").get_by_role("button", name=SET_1, exact=True).first.click()
    expect(page.locator(".message")).to_have_text("x is 1.")
    expect(page.locator(".run .code")).to_have_text("x = 1")
    before = page.locator(".talks li").count()
    page.locator(".talks li.here .remove").click()
    page.locator(".talks li.here").get_by_role("button", name="Delete", exact=True).click()
    expect(page.locator(".talks li")).to_have_count(before - 1)


def test_a_view_that_is_chosen_while_the_page_still_loads_stays(visitor):
    page, held = visitor.page, []
    page.route("**/page/conversations*", lambda route: held.append(route))
    page.reload()
    for _ in range(1000):
        if held:
            break
        page.wait_for_timeout(20)
    visitor.scratch()
    with page.expect_response("**/page/conversations*"):
        for route in held:
            route.continue_()
    page.wait_for_timeout(200)
    expect(page.get_by_label("Python code")).to_be_visible()


def test_a_snippet_runs_in_the_scratch_pad_without_a_model(visitor):
    visitor.scratch()
    visitor.run("x = 6\nprint('seven')\nx * 7")
    output = visitor.page.locator(".run .output")
    expect(output).to_contain_text("seven")
    expect(output).to_contain_text("42")


def test_the_sessions_variables_files_bill_and_layers_stand_beside_it(visitor):
    visitor.scratch()
    visitor.run("words = ['a', 'b', 'c']\nopen('a.txt', 'w').write('hello')")
    panel = visitor.page.locator(".panel")
    variable = panel.locator(".variables li")
    expect(variable).to_contain_text("words list 3")
    expect(variable.locator(".preview")).to_have_text("['a', 'b', 'c']")
    expect(panel).to_contain_text("a.txt")
    expect(panel.locator(".bill")).to_contain_text("Runs: 1")
    panel.get_by_text("Layers that hold").click()
    for layer in ("user_namespace", "landlock", "seccomp"):
        expect(panel.locator(".layers")).to_contain_text(layer)


def test_a_table_among_the_variables_opens_with_all_its_rows(visitor):
    visitor.scratch()
    visitor.run("import pandas as pd\nframe = pd.DataFrame({'n': range(500)})")
    visitor.page.locator(".variables").get_by_role("button", name="Show all rows").click()
    grid = visitor.page.locator("dialog .grid")
    expect(grid.get_by_role("cell", name="3", exact=True)).to_be_visible()
    grid.evaluate("element => { element.scrollTop = element.scrollHeight; }")
    expect(grid.get_by_role("cell", name="499", exact=True)).to_be_visible()


def test_output_comes_while_a_snippet_runs_and_stop_ends_it(visitor):
    visitor.scratch()
    page = visitor.page
    page.get_by_label("Python code").fill(
        "import time\nprint('begun', flush=True)\ntime.sleep(600)"
    )
    page.keyboard.press("Control+Enter")
    expect(page.locator(".run .output")).to_contain_text("begun")
    page.get_by_role("button", name="Stop").click()
    expect(page.locator("section.run")).to_have_attribute("aria-busy", "false")
    visitor.run("'and on'")
    expect(page.locator(".run .output").last).to_have_text("'and on'")


def test_a_file_goes_into_the_scratch_pads_session_and_comes_back(visitor):
    visitor.scratch()
    page = visitor.page
    page.get_by_label("Attach files").set_input_files(
        {"name": "in.txt", "mimeType": "text/plain", "buffer": b"hello"}
    )
    expect(page.locator(".panel")).to_contain_text("in.txt")
    visitor.run("open('out.txt', 'w').write(open('in.txt').read().upper())")
    with page.expect_download() as waited:
        page.locator(".panel a.file", has_text="out.txt").click()
    assert waited.value.path().read_bytes() == b"HELLO"


def test_what_a_hostile_snippet_shows_never_becomes_part_of_the_page(visitor):
    visitor.answered(HOSTILE, "<img src=x onerror=")
    page = visitor.page
    expect(page.locator(".run .output")).to_have_text(ATTACK)
    frame = page.frame_locator("iframe.guest")
    expect(frame.locator("p")).to_have_text("framed")
    assert frame.locator("p").evaluate("p => getComputedStyle(p).color") == "rgb(255, 0, 0)"
    assert frame.locator("p").evaluate("() => origin") == "null"
    assert page.locator("#page img, #page a[href^=javascript]").count() == 0
    assert page.title() == "Cellblock"
    # What the frame refused, it told the console of: the script by two walls, and the handler.
    walls = [one for one in visitor.problems if "Content Security Policy" in one]
    walls += [one for one in visitor.problems if "frame is sandboxed" in one]
    assert len(walls) == len(visitor.problems) > 0
    visitor.problems.clear()


def test_what_is_too_much_to_show_does_not_stop_the_page(visitor):
    """A forged table of 100 000 columns, marks without an end, and 20 MB of output."""
    visitor.scratch()
    visitor.run(FLOOD)
    page = visitor.page
    expect(page.locator(".grid [role=columnheader]")).to_have_count(201)
    expect(page.locator(".run .output")).to_contain_text("[…]")
    began = time.monotonic()
    visitor.run("'still here'")
    expect(page.locator(".output").last).to_have_text("'still here'")
    assert time.monotonic() - began < ANSWER_S


def test_a_pads_session_is_found_again_after_a_reload(visitor):
    visitor.scratch()
    visitor.run("x = 41")
    visitor.page.reload()
    expect(visitor.page.locator(".variables")).to_contain_text("x int")
    visitor.run("x + 1")
    expect(visitor.page.locator(".output")).to_have_text("42")


def test_a_refusal_is_explained_where_it_happened(browser):
    """In the conversation, by the server's own policy."""
    settings = config(policy={"imports": "data"})
    with serving(directory(PageModel()), settings) as server, Visitor(browser, server) as visitor:
        visitor.sign_in()
        visitor.answered(REFUSED, "It was refused.")
        refusal = visitor.page.locator(".run .refusal")
        expect(refusal).to_contain_text("ctypes")
        expect(refusal).to_contain_text("by import_policy")


def test_the_change_of_policy_that_would_allow_it_is_shown_and_not_applied(visitor, server):
    visitor.scratch()
    visitor.run("1")
    before = server.services.box.policy
    denial = {
        "layer": "net_namespace", "tried": "connect pypi.org:443", "rule": "no network", "line": 2,
        "count": 3, "sentence": "There is no network here.",
        "allow_with": '[policy]\nnetwork = ["pypi.org:443"]',
    }  # fmt: skip

    def with_denial(route):
        response = route.fetch()
        lines = response.text().split("\n")
        last = max(n for n, line in enumerate(lines) if line.startswith("data: "))
        outcome = {**json.loads(lines[last].removeprefix("data: ")), "denials": [denial]}
        lines[last] = f"data: {json.dumps(outcome)}"
        route.fulfill(response=response, body="\n".join(lines))

    visitor.page.route("**/run", with_denial)
    visitor.run("2")
    refusal = visitor.page.locator(".refusal")
    expect(refusal).to_contain_text("connect pypi.org:443 × 3 (line 2) by net_namespace")
    expect(refusal).to_contain_text("There is no network here.")
    expect(refusal.locator("pre")).to_have_text(denial["allow_with"])
    expect(refusal).to_contain_text("It is shown and not applied")
    assert server.services.box.policy is before


def test_a_lost_connection_is_taken_up_again_where_it_broke(browser, server):
    port = int(server.origin.rpartition(":")[2])
    with wired(port) as wire, Visitor(browser, Behind(wire, server)) as visitor:
        visitor.sign_in()
        visitor.ask(HELD)
        message = visitor.page.locator(".message")
        expect(message).to_have_text("One, ")
        wire.cut()
        expect(visitor.page.locator(".turn")).to_contain_text("Trying again")
        on_loop(server, set_event(server.model.release))
        wire.mend()
        expect(message).to_have_text("One, two, three.")
        expect(visitor.page.locator(".turn")).to_have_attribute("aria-busy", "false")
        server.model.release.clear()
        visitor.answered(SET_1, "x is 1.")


def test_the_page_goes_on_after_a_restart_of_the_server(browser):
    with tempfile.TemporaryDirectory() as folder:
        settings = config()
        settings = settings.model_copy(
            update={"server": settings.server.model_copy(update={"data_dir": folder})}
        )
        with wired(0) as wire, Visitor(browser, None) as visitor:
            with running(directory(PageModel()), settings) as first:
                wire.target = int(first.origin.rpartition(":")[2])
                visitor.server = Behind(wire, first)
                visitor.sign_in()
                visitor.answered(SET_1, "x is 1.")
                visitor.ask(HELD)
                expect(visitor.page.locator(".message").last).to_have_text("One, ")
            wire.cut()
            with running(directory(PageModel()), settings) as second:
                wire.target = int(second.origin.rpartition(":")[2])
                wire.mend()
                turn = visitor.page.locator("article.turn").last
                expect(turn).to_have_attribute("aria-busy", "false")
                expect(turn).to_contain_text("One, ")
                # The variables are gone, and the conversation is not.
                visitor.answered(SHOW, "Shown.")
                expect(visitor.page.locator(".output").last).to_contain_text("NameError")
                visitor.page.reload()
                expect(visitor.page.locator(".question").first).to_contain_text(SET_1)


def test_without_a_model_there_is_the_scratch_pad_alone(browser):
    with serving(directory_without_model()) as server, Visitor(browser, server) as visitor:
        visitor.sign_in()
        expect(visitor.page.get_by_label("Python code")).to_be_visible()
        assert visitor.page.locator(".views, nav.menu").count() == 0
        visitor.run("1 + 1")
        expect(visitor.page.locator(".output")).to_have_text("2")


def directory_without_model():
    from runner.models.directory import Directory

    return Directory({})


def test_the_page_speaks_chinese_where_the_browser_does(browser, server):
    with Visitor(browser, server, locale="zh-CN") as visitor:
        visitor.sign_in()
        expect(visitor.page.get_by_label("你的问题")).to_be_visible()
        assert visitor.page.evaluate("document.documentElement.lang") == "zh-Hans"
