"""Completions on the page are those of the server, and the code changes only when one is accepted."""

import time
from itertools import pairwise

import pytest
from selenium.webdriver.common.keys import Keys

from codeparrot.generation.engine import Engine
from codeparrot.generation.requests import Completion
from tests.serve.conftest import Served
from tests.serve.page.conftest import Page, shoot

pytestmark = pytest.mark.slow
CODE = "import os\n\n\ndef list_files(path):\n    return"
GREEDY = {"temperature": 0, "top_p": 1, "max_tokens": 24}
WATCH = """window.grown = []; new MutationObserver(() => {
    const text = document.getElementById("ghost").textContent; if (text !== window.grown.at(-1)) window.grown.push(text); })
    .observe(document.getElementById("back"), { childList: true });"""


def asked(served: Served, **body: object) -> list[str]:
    answer = served.post("/v1/completions", **body)
    return [each["text"] for each in sorted(answer["choices"], key=lambda each: each["index"])]


def test_a_completion_streams_beside_the_code_and_tab_accepts_it(page: Page, served: Served) -> None:
    (expected,) = asked(served, prompt=CODE, **GREEDY)
    page.write(CODE)
    page.script(WATCH)
    (shown,) = page.complete(**GREEDY)
    assert shown == expected != ""
    grown = page.script("return window.grown")
    assert len(grown) > 3 and all(longer.startswith(shorter) for shorter, longer in pairwise(grown))
    colors = page.script("return ['ghost', 'back'].map((each) => getComputedStyle(document.getElementById(each)).color)")
    assert colors[0] != colors[1]
    assert page.code == CODE, "it is only proposed"
    shoot(page, "completion")
    page.press(Keys.TAB)
    assert page.code == CODE + expected and page.text("ghost") == "" and page.focus == "code"
    page.press("z", holding=Keys.CONTROL)
    assert page.code == CODE, "one undo takes it back"


def test_escape_rejects_a_completion_and_frees_the_server(page: Page, served: Served, monkeypatch) -> None:
    step = Engine.step

    def slow(engine: Engine) -> list[Completion]:
        time.sleep(0.1)  # the 200 tokens take 20 s: on a busy machine, too, the key comes before the last of them
        return step(engine)

    monkeypatch.setattr(Engine, "step", slow)
    page.write("x")
    page.set(temperature=1, max_tokens=200, n=4)
    page.press(Keys.SPACE, holding=Keys.CONTROL)
    page.until(lambda: page.text("ghost"))
    page.press(Keys.ESCAPE)
    assert page.code == "x" and page.text("ghost") == ""
    page.until(lambda: served.service.desk.unfinished == 0)
    assert page.text("status") == "Stopped."


def test_escape_after_a_completion_says_that_it_was_rejected(page: Page) -> None:
    page.write(CODE)
    page.complete(**GREEDY)
    page.press(Keys.ESCAPE)
    assert page.code == CODE and page.text("ghost") == "" and page.text("status") == "Rejected."


def test_a_completion_out_of_sight_is_scrolled_to(page: Page) -> None:
    page.write("x = 1\n" * 100 + CODE)
    page.script("document.getElementById('editor').scrollTop = 0")
    page.complete(**GREEDY)
    places = "return ['editor', 'ghost'].map((each) => document.getElementById(each).getBoundingClientRect().toJSON())"
    editor, ghost = page.script(places)
    assert editor["top"] <= ghost["top"] and ghost["bottom"] <= editor["bottom"]


def test_typing_or_moving_the_cursor_rejects_what_is_proposed(page: Page) -> None:
    page.write(CODE)
    page.complete(**GREEDY)
    page.press("y")
    assert page.text("ghost") == "" and page.code == CODE + "y"
    page.complete(**GREEDY)
    page.press(Keys.ARROW_LEFT)
    page.until(lambda: page.text("ghost") == "")
    assert page.code == CODE + "y"


def test_alternatives_are_the_samples_of_the_seed_and_turn_both_ways(page: Page, served: Served) -> None:
    settings = {"temperature": 1, "top_p": 0.9, "max_tokens": 12, "n": 3, "seed": 7}
    expected = asked(served, prompt=CODE, **settings)
    assert len(set(expected)) == 3
    page.write(CODE)
    assert page.complete(**settings) == expected
    page.press("]", holding=Keys.ALT)
    assert page.text("ghost") == expected[0], "the last is followed by the first"
    page.press("[", holding=Keys.ALT)
    assert page.text("ghost") == expected[2]
    page.element("previous").click()
    page.element("accept").click()
    assert page.code == CODE + expected[1]


def test_what_is_behind_the_cursor_is_filled_in_where_the_model_can(page: Page, served: Served, monkeypatch) -> None:
    monkeypatch.setattr(served.service, "why_not", "")
    page.open()
    behind = "\n\n\ndef main():\n    pass\n"
    (expected,) = asked(served, prompt=CODE, suffix=behind, **GREEDY)
    assert expected != asked(served, prompt=CODE, **GREEDY)[0]
    page.write(CODE + behind, len(CODE))
    (shown,) = page.complete(**GREEDY)
    assert shown == expected and "in the middle" in page.text("status")
    page.press(Keys.TAB)
    assert page.code == CODE + expected + behind


def test_a_model_that_cannot_fill_in_says_so_and_completes_what_is_before(page: Page, served: Served, monkeypatch) -> None:
    monkeypatch.setattr(served.service, "why_not", "the model was trained without fill-in-the-middle")
    page.open()
    page.write(CODE + "\n\nmain()\n", len(CODE))
    assert page.complete(**GREEDY) == asked(served, prompt=CODE, **GREEDY)
    assert "left out: the model was trained without fill-in-the-middle" in page.text("status")


def test_new_lines_keep_their_indentation(page: Page) -> None:
    page.write("def f():\n    x = 1")
    page.press(Keys.ENTER, "y")
    assert page.code == "def f():\n    x = 1\n    y"


def test_what_the_server_refuses_is_told(page: Page, served: Served, monkeypatch) -> None:
    monkeypatch.setattr(served.service, "state", "stopping")
    page.write("x")
    page.press(Keys.SPACE, holding=Keys.CONTROL)
    page.until(lambda: page.element("status").get_attribute("class") == "wrong")
    assert page.text("status") == "the server is stopping" and page.code == "x"


def test_settings_out_of_range_are_not_sent(page: Page) -> None:
    page.write(CODE)
    page.set(temperature=9)
    page.requested()
    page.press(Keys.SPACE, holding=Keys.CONTROL)
    assert page.requested() == [] and page.focus == "temperature"
