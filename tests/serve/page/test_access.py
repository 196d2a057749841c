"""The page works on a phone, in the dark, by keys alone and with a screen reader."""

import re
from typing import Any

import pytest
from selenium.webdriver.common.keys import Keys

from tests.serve.conftest import Served
from tests.serve.page.conftest import Page, shoot

pytestmark = pytest.mark.slow
CODE = "def f(path):\n    with open(path) as file:\n        return file.read().split()  # which no phone has room for\n"


def test_a_phone_needs_no_scrolling_to_the_side(page: Page) -> None:
    page.size(width=360, height=740, mobile=True)
    page.write(CODE)
    page.score()
    page.press(Keys.END, holding=Keys.CONTROL)
    page.complete(temperature=1, n=2, max_tokens=40)
    assert page.script("return document.documentElement.scrollWidth") <= 360
    wide = page.script(
        """return [...document.querySelectorAll("body *")].filter((each) => !each.closest(".editor, .hidden, #lines code")
        && each.getBoundingClientRect().right > 361).map((each) => each.outerHTML.slice(0, 80))"""
    )
    assert wide == []
    heights = page.script("return [...document.querySelectorAll('button')].map((each) => each.offsetHeight).filter(Boolean)")
    assert min(heights) >= 24
    shoot(page, "phone")


def luminance(color: str) -> float:
    """Return the relative luminance of a CSS colour (WCAG 2.2)."""
    parts = [int(part) / 255 for part in re.findall(r"\d+", color)[:3]]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    darker, lighter = sorted((luminance(one), luminance(other)))
    return (lighter + 0.05) / (darker + 0.05)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_in_both_schemes(page: Page, scheme: str) -> None:
    page.write(CODE)
    page.score()
    page.complete(temperature=0, max_tokens=8)
    page.scheme(scheme)
    shoot(page, scheme)
    pairs = page.colors("p, h1, h2, label, button, input, select, dt, dd, li, summary, #ghost, #numbers, .token")
    assert len(pairs) > 50
    assert {(color, paper, name) for color, paper, name in pairs if contrast(color, paper) < 4.5} == set()
    body = page.script("return getComputedStyle(document.body).backgroundColor")
    assert (luminance(body) < 0.1) == (scheme == "dark")


def test_the_keyboard_reaches_everything_in_the_order_of_the_page(page: Page) -> None:
    assert page.focus == "code", "the code has the focus first"
    page.write(CODE)
    page.score()
    page.complete(temperature=1, n=2, max_tokens=4)
    page.press(Keys.ESCAPE)
    order = []
    for _ in range(12):
        page.press(Keys.TAB)
        order.append(page.focus or page.script("return document.activeElement.tagName"))
    settings = ["temperature", "top_p", "max_tokens", "n", "seed", "stop"]
    assert order[:10] == ["complete", "score", *settings, "SUMMARY", "BUTTON"]
    page.press(Keys.ENTER)
    assert page.focus == "code", "a line's button leads to it"
    page.press(Keys.TAB, holding=Keys.SHIFT)
    assert page.focus != "code"


def test_everything_that_takes_the_focus_has_a_name(page: Page) -> None:
    page.write(CODE)
    page.score()
    tree: Any = page.driver.execute_cdp_cmd("Accessibility.getFullAXTree", {})
    focusable = {}
    for each in tree["nodes"]:
        properties = {one["name"]: one["value"].get("value") for one in each.get("properties", [])}
        if properties.get("focusable") and each["role"]["value"] != "RootWebArea" and not each.get("ignored"):
            focusable[each["nodeId"]] = (each["role"]["value"], each.get("name", {}).get("value", ""))
    roles = [role for role, _ in focusable.values()]
    assert roles.count("textbox") >= 1 and roles.count("spinbutton") == 5 and roles.count("button") > 3
    assert [role for role, name in focusable.values() if not name.strip()] == []


def test_a_completion_is_announced_once_it_is_whole(page: Page) -> None:
    page.write("def f(")
    page.script(
        """window.heard = []; new MutationObserver(() => window.heard.push(document.getElementById("live").textContent))
        .observe(document.getElementById("live"), { childList: true });"""
    )
    (shown,) = page.complete(temperature=0, max_tokens=20)
    assert page.script("return window.heard") == [f"Completion 1 of 1: {shown}"]
    assert page.element("live").get_attribute("aria-live") == "polite"
    hidden = "return [...document.querySelectorAll('#back, #numbers')].every((each) => each.ariaHidden === 'true')"
    assert page.script(hidden), "the copy of the code is not read out"


def test_the_text_area_and_its_coloured_copy_lie_on_each_other(page: Page) -> None:
    page.write("\tif x:\n" + CODE * 20 + "日本 🦜 fi -> !=\n" + "x" * 300)
    page.score()
    boxes = page.script(
        """const names = ["font", "padding", "lineHeight", "tabSize", "letterSpacing", "whiteSpace", "fontVariantLigatures",
            "fontKerning", "textIndent"];
        return ["code", "back"].map((each) => { const at = document.getElementById(each), box = at.getBoundingClientRect();
        return [box.x, box.y, box.width, box.height, ...names.map((name) => getComputedStyle(at)[name])]; })"""
    )
    assert boxes[0] == boxes[1]
    inside = page.script("return [code.scrollWidth - code.clientWidth, code.scrollHeight - code.clientHeight]")
    assert max(inside) <= 1, "it needs no scrolling of its own"


def test_the_loss_curve_is_drawn_and_told(page: Page, served: Served, monkeypatch) -> None:
    curve = [[1000 * step, 9.0 - step / 20] for step in range(1, 101)]
    monkeypatch.setitem(served.service.facts, "curve", curve)
    monkeypatch.setitem(served.service.facts, "step", 1234)
    page.open()
    told = "Training loss from 8.95 to 4.00 nats over 100,000 tokens"
    assert page.element("curve").find_element("css selector", "svg").get_attribute("aria-label") == told
    points = page.script("return document.querySelector('#curve polyline').getAttribute('points')").split()
    heights = [float(each.split(",")[1]) for each in points]
    assert len(points) == 100 and heights == sorted(heights)
    assert "Step1,234" in page.text("facts")
    shoot(page, "curve")
