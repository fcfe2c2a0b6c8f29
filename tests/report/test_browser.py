"""The page in a browser: filters, keys, pictures, no error in the console."""

import shutil
import time

import pytest
from helpers.run_folders import make_run

from mmcot_jax.report.__main__ import main

webdriver = pytest.importorskip("selenium.webdriver")


@pytest.fixture(scope="module")
def browser():
    programs = [shutil.which(name) for name in ("chromium", "chromedriver")]
    if None in programs:
        pytest.skip("needs Chromium and its driver (Debian: chromium-driver)")
    options = webdriver.ChromeOptions()
    options.binary_location = programs[0]
    for flag in ("headless=new", "no-sandbox", "disable-gpu", "window-size=1200,1400"):
        options.add_argument(f"--{flag}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options, webdriver.ChromeService(programs[1]))
    yield driver
    driver.quit()


class Page:
    """What a reader does and sees."""

    def __init__(self, driver, file):
        self.driver = driver
        driver.get(f"file://{file}")
        self.wait()

    def wait(self):
        """Waits until the reader shows what the filters say."""
        end = time.monotonic() + 10
        place = self.text("place")
        while place != "no chain" and not self.run("return document.querySelector('.chain')"):
            assert time.monotonic() < end
            time.sleep(0.02)
        time.sleep(0.1)

    def run(self, script, *values):
        return self.driver.execute_script(script, *values)

    def text(self, id):
        return self.run("return document.getElementById(arguments[0]).textContent", id)

    def set(self, **values):
        for id, value in values.items():
            self.run(
                "const e = document.getElementById(arguments[0]); e.value = arguments[1];"
                "for (const n of ['input', 'change'])"
                " e.dispatchEvent(new Event(n, {bubbles: true}));",
                id.replace("_", "-"),
                value,
            )
        self.wait()
        return self.text("place")

    def press(self, key):
        self.run("document.dispatchEvent(new KeyboardEvent('keydown', {key: arguments[0]}))", key)
        self.wait()
        return self.text("place")

    def count(self, selector):
        return self.run("return document.querySelectorAll(arguments[0]).length", selector)


def make_page(tmp_path, **size):
    folders = [make_run(tmp_path / f"runs/{seed}", seed, **size) for seed in (1, 2)]
    assert main([*map(str, folders), "--out", str(tmp_path / "out")]) == 0
    return tmp_path / "out/index.html"


def test_filters_keys_groups_and_pictures(tmp_path, browser):
    page = Page(browser, make_page(tmp_path, questions=3))
    assert page.text("place") == "1 of 16"
    assert page.count(".framed .box.found") == 1 and page.count("#plots .plot") == 1
    style = page.run("return document.querySelector('.box.found').style.cssText")
    assert style == "left: 0%; top: 0%; width: 50%; height: 50%;"
    assert page.set(by_run="1") == "1 of 8"
    assert page.set(by_file="1") == "1 of 6"
    assert page.set(by_pictures="1") == "1 of 3"
    assert page.set(reward_low="2.3") == "no chain"
    assert page.set(reward_low="2.1", reward_high="2.3", step_low="2") == "1 of 3"
    assert page.set(step_low="3") == "no chain"
    assert page.set(step_low="", by_pictures="", by_answer="0", by_file="") == "no chain"
    assert page.set(reward_low="", reward_high="", by_run="") == "1 of 2"
    assert page.set(by_answer="", by_kind="1") == "1 of 12"  # training has no kinds
    assert page.press("ArrowRight") == "2 of 12" and page.press("PageDown") == "12 of 12"
    assert page.press("g") == "12 of 12"
    assert page.count(".chain") == 2 and page.count(".chain.current") == 1
    assert page.press("g") and page.press("ArrowLeft") == "11 of 12"
    assert page.set(sort="-tokens", by_kind="1", by_run="0") == "1 of 6"
    loaded = "return [...document.images].every((i) => i.complete && i.naturalWidth === 8)"
    assert page.count(".chain img") == 2 and page.run(loaded)
    assert "</script><script>alert(1)" in page.run(
        "return document.querySelector('.reply').textContent"
    )
    dark = page.run("return getComputedStyle(document.body).backgroundColor")
    page.run("document.getElementById('look').click()")
    assert page.run("return getComputedStyle(document.body).backgroundColor") != dark
    wide = page.run("return document.documentElement.scrollWidth <= window.innerWidth")
    assert wide and browser.get_log("browser") == []


def test_a_picture_that_is_not_stored_says_so(tmp_path, browser):
    folder = make_run(tmp_path / "run")
    chains = folder / "completions/eval.jsonl"
    chains.write_text(chains.read_text().replace('"prompt_pictures": ["p/0.png"]', '"x": 1'))
    assert main([str(folder), "--out", str(tmp_path / "out")]) == 0
    page = Page(browser, tmp_path / "out/index.html")
    assert page.run("return document.querySelector('.prompt .missing').textContent") == (
        "<image> is not stored: a run keeps the pictures of the first 1,000 questions of a set"
    )


def test_ten_thousand_chains_page_through(tmp_path, browser):
    page = Page(browser, make_page(tmp_path, questions=2500))
    assert page.text("place") == "1 of 10004"
    for _ in range(20):
        before = time.monotonic()
        page.press("PageDown")
        assert time.monotonic() - before < 10.0  # a tenth of a second, on an idle machine
    assert page.set(sort="-reward") == "1 of 10004"
    assert browser.get_log("browser") == []
