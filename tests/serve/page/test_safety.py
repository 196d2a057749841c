"""Whatever code, model and server say stays text; the page talks to its server alone; a key is kept in memory."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import torch
from selenium.webdriver.common.keys import Keys
from transformers import AutoTokenizer, GPT2Config, GPT2LMHeadModel

from tests.conftest import with_sentinels
from tests.serve.conftest import Served, serving
from tests.serve.page.conftest import Page, fresh, shoot

pytestmark = pytest.mark.slow
IMAGE = '<img src=x onerror="window.attacked=1">'
SCRIPT = "</textarea></pre><script>window.attacked=1</script>"
KEY = "a-key-of-sixteen"


@pytest.fixture(scope="module")
def hostile(tokenizer_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A model that says nothing but markup, whatever comes before."""
    folder = with_sentinels(tokenizer_folder, tmp_path_factory.mktemp("hostile") / "model")
    tokenizer: Any = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_tokens([IMAGE, SCRIPT])
    tokenizer.save_pretrained(folder)
    ends: Any = {"bos_token_id": 0, "eos_token_id": 0}
    model = GPT2LMHeadModel(GPT2Config(vocab_size=len(tokenizer), n_positions=256, n_embd=8, n_layer=1, n_head=1, **ends))
    with torch.no_grad():
        # The last norm gives the same vector everywhere, which points to the two tokens.
        model.transformer.ln_f.weight.zero_()
        model.transformer.ln_f.bias[0] = 1
        model.transformer.wte.weight[-2:, 0] = torch.tensor([9.0, 8.0])
    model.save_pretrained(folder)
    yield from serving(str(folder))


def assert_harmless(page: Page) -> None:
    assert page.script("return window.attacked ?? null") is None
    assert page.script("return document.images.length + document.scripts.length") == 1, "the page's own script"
    assert page.complaints() == []


def test_markup_in_code_is_text_everywhere(page: Page) -> None:
    code = f"{IMAGE}\n{SCRIPT}\nx = '&lt;b&gt;' # {IMAGE}\n"
    page.write(code)
    shown = page.score()
    assert "".join(each["text"] for each in shown) == code
    assert IMAGE in page.text("lines") and SCRIPT in page.text("lines")
    page.complete(temperature=0, max_tokens=4)
    assert_harmless(page)


def test_markup_from_the_model_is_text_everywhere(driver, hostile: Served) -> None:
    page = fresh(driver, hostile)
    page.write("x = 1\n")
    (shown,) = page.complete(temperature=0, max_tokens=3)
    assert IMAGE * 2 in shown and page.text("live").endswith(shown)
    page.press(Keys.TAB)
    assert page.code == "x = 1\n" + shown
    page.score()
    told = page.hover(len(page.cells()) - 1)
    assert IMAGE.replace(" ", "␣") in told and SCRIPT.replace(" ", "␣") in told
    shoot(page, "hostile")
    assert_harmless(page)


def test_markup_in_the_facts_of_a_run_is_text(page: Page, served: Served, monkeypatch) -> None:
    monkeypatch.setitem(served.service.facts, "run", IMAGE)
    monkeypatch.setattr(served.service, "name", SCRIPT)
    page.open()
    assert IMAGE in page.text("facts") and page.text("name") == SCRIPT
    assert_harmless(page)


def test_the_policy_refuses_markup_inline_scripts_and_other_hosts(page: Page) -> None:
    """A second lock, for a defect that is not there yet."""
    refused = "try { document.body.innerHTML = '<b>x</b>'; return 'done' } catch (error) { return error.name }"
    assert page.script(refused) == "TypeError"
    other = "const done = arguments[0]; fetch('http://192.0.2.1/').then(() => done('sent'), () => done('refused'))"
    assert page.driver.execute_async_script(other) == "refused"
    assert any("connect-src" in each for each in page.complaints())


def test_nothing_is_asked_of_another_host(page: Page) -> None:
    page.write("def f():\n    ")
    page.complete(temperature=0, max_tokens=8)
    page.press(Keys.TAB)
    page.score()
    asked = {urlsplit(each)[:3] for each in page.requested() if not each.startswith("data:")}
    own = urlsplit(page.address)[:2]
    assert {each[:2] for each in asked} == {own}
    assert {each[2] for each in asked} == {"/", "/page.js", "/facts", "/v1/completions"}


@pytest.fixture(scope="module")
def locked(model_folder: str) -> Iterator[Served]:
    yield from serving(model_folder, key=KEY)


def test_a_key_is_asked_for_and_kept_in_memory_only(driver, locked: Served) -> None:
    page = Page(driver, locked.address)
    page.size()
    driver.get(f"{locked.address}/")
    page.until(lambda: page.element("door").get_attribute("open"))
    assert page.focus == "key"
    page.press("wrong", Keys.ENTER)
    page.until(lambda: "does not know this key" in page.text("door-why"))
    assert page.text("facts") == ""
    page.press(KEY, Keys.ENTER)
    page.until(lambda: page.text("facts"))
    page.write("x = ")
    page.complete(temperature=0, max_tokens=2)
    kept = page.script("return [document.cookie, JSON.stringify(localStorage), JSON.stringify(sessionStorage)].join()")
    assert KEY not in kept and KEY not in driver.page_source and KEY not in driver.current_url
    assert page.script("return document.getElementById('key').value") == ""
    driver.get(f"{locked.address}/")
    page.until(lambda: page.element("door").get_attribute("open"))
    page.press(Keys.ESCAPE)
    page.until(lambda: "asks for its API key" in page.text("status"))
