"""The colours and numbers of the page are the server's likelihoods, of every token of the document."""

import math
import re
from typing import Any

import pytest
from selenium.webdriver.common.keys import Keys

from tests.conftest import python_sources
from tests.serve.conftest import CONTEXT, Served
from tests.serve.page.conftest import Page, shoot

pytestmark = pytest.mark.slow
CODE = 'def f(name):\n\treturn "é🦜 ﷽" + name\n\n\nclass A:\n    "日本"\n'
BOUNDS = (1, 3, 6, 10)


def scored(served: Served, text: str) -> dict[str, Any]:
    answer = served.post("/v1/completions", prompt=text, echo=True, max_tokens=0, logprobs=5)
    (choice,) = answer["choices"]
    assert choice["text"] == text
    return choice["logprobs"]


def expected_cells(text: str, found: dict[str, Any]) -> list[tuple[str, float | None]]:
    """Return the text and bits of cells: whole characters, with the tokens that end in them."""
    offsets, cells, begin, logprobs = [*found["text_offset"][1:], len(text)], [], 0, []
    for end, logprob in zip(offsets, found["token_logprobs"], strict=True):
        logprobs.append(logprob)
        if end > begin:
            bits = None if None in logprobs else -sum(logprobs) / math.log(2)
            cells.append((text[begin:end], bits))
            begin, logprobs = end, []
    return cells


def level(bits: float | None) -> int:
    return sum((bits or 0) >= bound for bound in BOUNDS)


def test_every_token_has_the_level_of_its_bits(page: Page, served: Served) -> None:
    # What the model writes itself surprises it little, and the rest much.
    (own,) = served.post("/v1/completions", prompt=CODE, max_tokens=50, temperature=0.3, seed=0)["choices"]
    text = CODE + own["text"] + python_sources(3)[2][:120]
    page.write(text)
    shown = page.score()
    expected = expected_cells(text, scored(served, text))
    assert [(each["text"], each["level"]) for each in shown] == [(part, level(bits)) for part, bits in expected]
    assert "".join(each["text"] for each in shown) == text
    assert {0, 2, 3, 4} <= {each["level"] for each in shown}
    colors = {(each["level"], each["color"]) for each in shown}
    assert len(colors) == len({color for _, color in colors}) == len({each["level"] for each in shown})
    shoot(page, "surprisal")


def test_the_document_has_its_bits_a_byte(page: Page, served: Served) -> None:
    page.write(CODE)
    page.score()
    counted = [(text, bits) for text, bits in expected_cells(CODE, scored(served, CODE)) if bits is not None]
    bits, size = sum(bits for _, bits in counted), sum(len(text.encode()) for text, _ in counted)
    assert page.text("bits_per_byte") == f"{bits / size:.3f} bits a byte"
    assert f"{bits:,.1f} bits" in page.text("summary") and f"{size} bytes" in page.text("summary")


def test_pointer_and_cursor_show_the_five_likeliest_of_a_token(page: Page, served: Served) -> None:
    page.write("import os\n")
    page.score()
    found = scored(served, "import os\n")
    told = page.hover(1)
    assert f"{-found['token_logprobs'][1] / math.log(2):.2f} bits" in told
    likeliest = sorted(found["top_logprobs"][1].values(), reverse=True)[:5]
    for value in likeliest:
        probability = math.exp(value)
        assert (f"{100 * probability:.1f}%" if probability >= 0.001 else "< 0.1%") in told
    assert page.script("return document.querySelectorAll('#token tr').length") == 6
    page.press(Keys.HOME, holding=Keys.CONTROL)
    page.until(lambda: "no score" in page.text("token"))
    page.press(*[Keys.ARROW_RIGHT] * found["text_offset"][1])
    page.until(lambda: page.text("token") == told)


def test_the_most_surprising_lines_are_listed_and_lead_there(page: Page, served: Served) -> None:
    text = python_sources(1)[0][:300]
    page.write(text)
    page.score()
    bits: dict[int, float] = {}
    end = 0
    for part, each in expected_cells(text, scored(served, text)):
        end += len(part)
        line = text.count("\n", 0, end - 1)
        bits[line] = bits.get(line, 0) + (each or 0)
    first = max(bits, key=lambda line: bits[line])
    buttons = page.driver.find_elements("css selector", "#lines button")
    assert len(buttons) == min(10, sum(value > 0 for value in bits.values()))
    assert buttons[0].text.startswith(f"Line {first + 1}: {bits[first]:,.1f} bits")
    told = [float(re.findall(r": ([\d.,]+) bits", each.text)[0].replace(",", "")) for each in buttons]
    assert told == sorted(told, reverse=True)
    buttons[0].click()
    chosen = page.script("return code.value.slice(code.selectionStart, code.selectionEnd)")
    assert page.focus == "code" and chosen == text.split("\n")[first]


def test_a_document_longer_than_the_context_is_scored_whole_and_says_how(page: Page, served: Served) -> None:
    text = python_sources(3)[2][:2500]
    page.write(text)
    shown = page.score()
    assert "".join(each["text"] for each in shown) == text
    assert f"context of {CONTEXT} tokens" in page.text("summary")
    # What the first window holds is scored as any text.
    head = text[:200]
    alone = [(part, level(bits)) for part, bits in expected_cells(head, scored(served, head))][:-3]
    assert [(each["text"], each["level"]) for each in shown[: len(alone)]] == alone
    shoot(page, "long")


def test_an_edit_keeps_the_scores_before_it_and_drops_those_behind(page: Page) -> None:
    page.write(CODE)
    before = page.score()
    page.press(Keys.END, Keys.HOME, holding=Keys.CONTROL)
    page.press(Keys.END, "x")
    page.until(lambda: "not scored" in page.text("summary"))
    after = page.cells()
    assert after == before[: len(after)] and "".join(each["text"] for each in after) in "def f(name):"
    assert len(after) > 2


def test_colours_go_by_lightness_and_the_legend_has_them(page: Page) -> None:
    legend = "return [...document.querySelectorAll('#legend li')].map((each) => getComputedStyle(each).backgroundColor)"
    for scheme, darker in (("light", True), ("dark", False)):
        page.scheme(scheme)
        found = [[int(part) for part in re.findall(r"\d+", color)[:3]] for color in page.script(legend)[1:]]
        lightness = [0.2126 * red + 0.7152 * green + 0.0722 * blue for red, green, blue in found]
        assert lightness == sorted(lightness, reverse=darker) and len(set(lightness)) == len(BOUNDS)
