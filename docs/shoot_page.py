"""Photograph the server's page: `python docs/shoot_page.py http://127.0.0.1:8012 docs/serve.png` (Chromium and its driver).

The picture shows code with its surprisal and a completion in the middle of it, on a screen of 1280 x 980.
"""

import shutil
import sys
import time

from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.wait import WebDriverWait

CODE = '''import os


def count_words(path):
    """Return how often each word of a file occurs."""
    counts = {}
    with open(path) as file:
        for line in file:
            for word in line.split():
                counts[word] = counts.get(word, 0) + 1
    return counts


def list_files(path):
    '''
SECONDS = 60


def shoot(address: str, output: str) -> None:
    """Score CODE on the page at `address`, complete it, and write a PNG."""
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or "chromium"
    for flag in ("headless=new", "no-sandbox", "disable-gpu", "disable-dev-shm-usage", "hide-scrollbars"):
        options.add_argument(f"--{flag}")
    with webdriver.Chrome(options, webdriver.ChromeService(shutil.which("chromedriver"))) as driver:
        screen = {"width": 1280, "height": 980, "deviceScaleFactor": 1, "mobile": False}
        driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
        driver.get(address)
        waiting = WebDriverWait(driver, SECONDS)
        waiting.until(lambda _: driver.find_element(By.ID, "facts").text)
        code = driver.find_element(By.ID, "code")
        code.clear()
        driver.execute_script("arguments[0].value = arguments[1]; arguments[0].dispatchEvent(new Event('input'))", code, CODE)
        code.send_keys(Keys.END)
        driver.find_element(By.ID, "score").click()
        waiting.until(lambda _: driver.find_element(By.ID, "status").text == "Scored.")
        driver.find_element(By.ID, "complete").click()
        waiting.until(lambda _: driver.find_element(By.ID, "status").text.startswith("Completion 1 of"))
        where = driver.find_element(By.CSS_SELECTOR, "#back .level4, #back .level3")
        webdriver.ActionChains(driver).move_to_element(where).perform()
        time.sleep(0.2)  # until the pointer's token is drawn
        driver.save_screenshot(output)


if __name__ == "__main__":
    shoot(*sys.argv[1:3])
