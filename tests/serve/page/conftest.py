"""Chromium, driven as a user drives it: real keys, a real pointer, a real server."""

import json
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from selenium import webdriver
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.wait import WebDriverWait

from tests.serve.conftest import Served

SECONDS = 60
WIDE = {"width": 1280, "height": 900, "deviceScaleFactor": 1, "mobile": False}


@dataclass(frozen=True)
class Page:
    """The page of a server, in a tab."""

    driver: webdriver.Chrome
    address: str

    def open(self) -> "Page":
        self.driver.get(f"{self.address}/")
        self.until(lambda: self.text("facts") != "")
        return self

    def until(self, condition: Callable[[], Any]) -> Any:
        """Wait until a condition holds, and return what it returns."""
        return WebDriverWait(self.driver, SECONDS, poll_frequency=0.02).until(lambda _: condition())

    def script(self, text: str, *arguments: Any) -> Any:
        return self.driver.execute_script(text, *arguments)

    def element(self, name: str) -> Any:
        return self.driver.find_element(By.ID, name)

    def text(self, name: str) -> str:
        """Return an element's text with its white space, hidden or not."""
        return self.script("return document.getElementById(arguments[0])?.textContent ?? ''", name)

    def press(self, *keys: str, holding: str = "") -> None:
        """Press keys one after another, wherever the focus is."""
        actions = ActionChains(self.driver)
        for each in holding:
            actions.key_down(each)
        actions.send_keys(*keys)
        for each in holding:
            actions.key_up(each)
        actions.perform()

    def write(self, text: str, cursor: int | None = None) -> None:
        """Replace the code as a paste would, and put the cursor at an offset; None: the end."""
        self.script(
            """const [code, text, cursor] = [document.getElementById("code"), ...arguments];
            code.focus(); code.value = text; code.dispatchEvent(new Event("input"));
            code.setSelectionRange(cursor ?? text.length, cursor ?? text.length);""",
            text,
            cursor,
        )

    def set(self, **settings: Any) -> None:
        for name, value in settings.items():
            self.script("document.getElementById(arguments[0]).value = arguments[1]", name, str(value))

    @property
    def code(self) -> str:
        return self.script("return document.getElementById('code').value")

    @property
    def focus(self) -> str:
        return self.script("return document.activeElement.id")

    def complete(self, **settings: Any) -> list[str]:
        """Complete at the cursor, and return the alternatives in their order."""
        self.set(**settings)
        self.press(Keys.SPACE, holding=Keys.CONTROL)
        self.until(lambda: self.text("status").startswith(("Completion 1", "The model ends")))
        found = [self.text("ghost")]
        for _ in range(int(self.text("status").partition(" of ")[2].split(",")[0].split(".")[0] or 1) - 1):
            self.press("]", holding=Keys.ALT)
            found.append(self.text("ghost"))
        return found

    def score(self) -> list[dict[str, Any]]:
        """Score the code, and return its cells: text, level."""
        self.press(Keys.ENTER, holding=Keys.CONTROL)
        self.until(lambda: self.text("status") == "Scored.")
        return self.cells()

    def cells(self) -> list[dict[str, Any]]:
        return self.script(
            """return [...document.querySelectorAll("#back .token")].map((each) => ({
            text: each.textContent, level: Number(/level(\\d)/.exec(each.className)[1]),
            color: getComputedStyle(each).backgroundColor }))"""
        )

    def hover(self, cell: int) -> str:
        """Move the pointer over a cell, and return what the page tells of it."""
        place = self.script(
            """const each = document.querySelector(`#back [data-cell="${arguments[0]}"]`);
            each.scrollIntoView({ block: "center" });
            const { left, top, height } = each.getClientRects()[0]; return [left + 2, top + height / 2];""",
            cell,
        )
        actions = ActionChains(self.driver)
        actions.w3c_actions.pointer_action.move_to_location(*map(int, place))
        actions.perform()
        return self.text("token")

    def scheme(self, name: str) -> None:
        features = [{"name": "prefers-color-scheme", "value": name}]
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})

    def colors(self, selector: str) -> list[tuple[str, str, str]]:
        """Return the colours of elements that can be seen: of the text, of what is behind it, and which they are."""
        return self.script(
            """const paper = (each) => { const color = getComputedStyle(each).backgroundColor;
            return color === "rgba(0, 0, 0, 0)" && each.parentElement ? paper(each.parentElement) : color; };
            return [...document.querySelectorAll(arguments[0])].filter((each) => each.offsetWidth)
            .map((each) => [getComputedStyle(each).color, paper(each), each.className || each.tagName])""",
            selector,
        )

    def size(self, **screen: Any) -> None:
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", WIDE | screen)

    def complaints(self) -> list[str]:
        """Return what the browser has complained about since the last call."""
        return [each["message"] for each in self.driver.get_log("browser")]  # type: ignore[no-untyped-call]

    def requested(self) -> list[str]:
        """Return the addresses that the browser has asked for since the last call."""
        messages = [json.loads(each["message"])["message"] for each in self.driver.get_log("performance")]  # type: ignore[no-untyped-call]
        return [each["params"]["request"]["url"] for each in messages if each["method"] == "Network.requestWillBeSent"]


@pytest.fixture(scope="session")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    """Debian's Chromium without a screen, with a profile of its own."""
    programs = shutil.which("chromium"), shutil.which("chromedriver")
    if None in programs:
        missing = "chromium or chromium-driver is not installed (.ci/packages installs them)"
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(missing)
    options = webdriver.ChromeOptions()
    options.binary_location = str(programs[0])
    profile = tmp_path_factory.mktemp("profile")
    # Tests run as root in containers, whose /dev/shm is small.
    for flag in ("headless=new", "no-sandbox", "disable-gpu", "disable-dev-shm-usage", f"user-data-dir={profile}"):
        options.add_argument(f"--{flag}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    started = webdriver.Chrome(options, webdriver.ChromeService(str(programs[1])))
    yield started
    started.quit()


@pytest.fixture
def page(driver: webdriver.Chrome, served: Served) -> Page:
    """The page of the tiny random model, on a wide and light screen."""
    return fresh(driver, served)


def fresh(driver: webdriver.Chrome, served: Served) -> Page:
    """Open the page of a server, with nothing left of what was opened before."""
    page = Page(driver, served.address)
    page.size()
    page.scheme("light")
    page.complaints()
    page.requested()
    return page.open()


PICTURES = Path(__file__).parents[3] / "build" / "pictures"
"""Where tests leave screenshots, for people to look at."""


def shoot(page: Page, name: str) -> None:
    PICTURES.mkdir(parents=True, exist_ok=True)
    page.driver.save_screenshot(str(PICTURES / f"{name}.png"))
