"""The page searches where its server has an index, by keys alone, and shows what the server tells as text."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from selenium.webdriver.common.keys import Keys

from codeparrot.search.build import build
from codeparrot.serve.loaded import Settings
from tests.search.conftest import SOURCES
from tests.serve.conftest import Served, serving
from tests.serve.page.conftest import Page, fresh, shoot
from tests.serve.page.test_access import contrast
from tests.serve.page.test_safety import IMAGE, SCRIPT, assert_harmless

pytestmark = pytest.mark.slow
SPLIT = "def split(text):\n    return text.split()"
HOSTILE = f"def attack():\n    return '{IMAGE}' # {SCRIPT}\n"


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name, text in {**SOURCES, "hostile.py": HOSTILE}.items():
        (tmp_path / "tree" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "tree" / name).write_text(text, encoding="utf-8")
    return tmp_path / "tree"


@pytest.fixture
def finding(model_folder: str, tree: Path) -> Iterator[Served]:
    index = str(tree.parent / "index")
    build(str(tree), checkpoint=model_folder, output=index, whiten=False)
    yield from serving(model_folder, Settings(batch_size=8, threads=1, index=index))


@pytest.fixture
def panel(driver: Any, finding: Served) -> Page:
    page = fresh(driver, finding)
    page.until(lambda: page.element("search").is_displayed())
    return page


def found(page: Page) -> list[str]:
    """Return what was found, in its order, once it is there."""
    page.until(lambda: page.text("search-status").endswith(".") and page.text("search-status") != "Searching.")
    return page.script("return [...document.querySelectorAll('#hits li')].map((each) => each.firstChild.textContent)")


def test_without_an_index_there_is_no_panel_and_no_script_of_it(page: Page) -> None:
    assert not page.element("search").is_displayed()
    page.press("F", holding=Keys.CONTROL + Keys.SHIFT)
    assert page.focus == "code"
    assert not any(each.endswith("/search.js") for each in page.requested())


def test_a_search_by_keys_alone_puts_what_it_found_at_the_cursor(panel: Page, finding: Served) -> None:
    panel.write("x = 1\n")
    panel.press("f", holding=Keys.CONTROL + Keys.SHIFT)
    assert panel.focus == "search-text"
    panel.press("def split(text):")
    panel.press(Keys.ENTER, holding=Keys.SHIFT)
    panel.press("    return text.split()", Keys.ENTER)
    expected = finding.post("/v1/search", text=SPLIT)["hits"]
    shown = found(panel)
    assert shown[0] == f"deep/words.py:4-5 split (1.000){SPLIT}"
    assert [each.partition(":")[0] for each in shown] == [hit["path"] for hit in expected]
    assert panel.text("search-status") == f"{len(expected)} pieces."
    shoot(panel, "search")
    panel.press(Keys.TAB, Keys.TAB)
    panel.press(Keys.ENTER)
    assert panel.code == f"x = 1\n{SPLIT}" and panel.focus == "code"
    panel.press("z", holding=Keys.CONTROL)
    assert panel.code == "x = 1\n", "one undo takes it back"
    panel.element("search-text").click()
    panel.press(Keys.ESCAPE)
    assert panel.focus == "code"
    assert panel.complaints() == []


def test_what_is_selected_in_the_code_is_searched_for(panel: Page) -> None:
    panel.write(f"x = 1\n{SPLIT}\ny = 2\n")
    panel.script("code.setSelectionRange(6, 6 + arguments[0])", len(SPLIT))
    panel.press("f", holding=Keys.CONTROL + Keys.SHIFT)
    assert found(panel)[0].startswith("deep/words.py:4-5 split (1.000)")
    assert panel.script("return document.getElementById('search-text').value") == SPLIT


def search(page: Page, text: str) -> list[str]:
    page.script("document.getElementById('search-text').value = arguments[0]", text)
    page.element("search-go").click()
    return found(page)


def test_more_like_a_hit_leaves_it_out_and_names_it(panel: Page) -> None:
    search(panel, SPLIT)
    more = panel.driver.find_element("css selector", "#hits li:first-child button:last-child")
    assert more.get_attribute("aria-label") == "More like deep/words.py:4-5 split"
    more.click()
    panel.until(lambda: "like deep/words.py:4-5 split" in panel.text("search-status"))
    assert not any(each.startswith("deep/words.py:4-5") for each in found(panel))


def test_stale_hits_are_marked_and_counted(panel: Page, tree: Path) -> None:
    (tree / "deep/words.py").write_text("import sys\n", encoding="utf-8")
    (tree / "notes.md").unlink()
    shown = search(panel, SPLIT)
    assert "(1.000) [changed since the index was built]def split" in shown[0]
    assert any(each.startswith("notes.md:") and "[gone since" in each for each in shown)
    assert panel.text("search-status").endswith("Of 4 files since the build: 1 changed, 1 gone.")


def test_errors_are_shown_instead_of_the_hits_of_another_search(panel: Page, finding: Served, monkeypatch: Any) -> None:
    assert search(panel, SPLIT)
    monkeypatch.setattr(finding.service.searcher, "like_text", lambda *_: 1 / 0)
    panel.element("search-go").click()
    panel.until(lambda: "the server failed" in panel.text("search-status"))
    assert panel.text("hits") == "" and panel.element("search-status").get_attribute("class") == "wrong"
    assert search(panel, "  ") == [] and "Nothing to look for" in panel.text("search-status")


def test_a_search_stops_no_completion(panel: Page, finding: Served) -> None:
    panel.write("def f(")
    panel.set(temperature=0, max_tokens=200, n=1)
    panel.press(Keys.SPACE, holding=Keys.CONTROL)
    search(panel, "split words")
    panel.until(lambda: panel.text("status").startswith(("Completion 1", "The model ends")))


def test_markup_in_what_was_found_is_text(panel: Page) -> None:
    shown = search(panel, HOSTILE.strip())
    assert IMAGE in shown[0] and SCRIPT in shown[0]
    assert_harmless(panel)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_panel_is_readable_and_named(scheme: str, panel: Page, tree: Path) -> None:
    (tree / "deep/words.py").write_text("import sys\n", encoding="utf-8")
    search(panel, SPLIT)
    panel.scheme(scheme)
    pairs = panel.colors("#search, #search *")
    assert len(pairs) > 20 and {name for color, paper, name in pairs if contrast(color, paper) < 4.5} == set()
    faint = panel.script("return getComputedStyle(document.getElementById('search-text'), '::placeholder').color")
    assert all(contrast(faint, paper) >= 4.5 for _, paper, name in pairs if name == "TEXTAREA")
    panel.size(width=360, height=740, mobile=True)
    assert panel.script("return document.documentElement.scrollWidth") <= 360
    heights = panel.script("return [...document.querySelectorAll('#search button')].map((each) => each.offsetHeight)")
    assert min(heights) >= 24
    shoot(panel, f"search-{scheme}")
