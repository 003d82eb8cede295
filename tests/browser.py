"""A headless Chromium for tests of pages; tests are skipped where it or selenium is missing."""

import shutil
from contextlib import contextmanager

import pytest

OPTIONS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--force-prefers-reduced-motion",
)
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
DRIVERS = ("chromedriver", "chromium.chromedriver")


def found(names):
    """The first of these programs that is installed, or None."""
    return next(filter(None, map(shutil.which, names)), None)


@contextmanager
def browser(folder):
    """A running browser whose profile is in `folder`. Skips the test where there is none."""
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
    program, driver = found(BROWSERS), found(DRIVERS)
    if program is None or driver is None:
        pytest.skip("chromium or chromedriver is not installed")
    options = webdriver.ChromeOptions()
    options.binary_location = program
    for option in (*OPTIONS, f"--user-data-dir={folder}"):
        options.add_argument(option)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    service = webdriver.chrome.service.Service(driver)
    started = webdriver.Chrome(options=options, service=service)
    try:
        yield started
    finally:
        started.quit()


def show(driver, path, *, width=1280, dark=False):
    """Open a file in a window of this width, with the light or the dark theme."""
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    theme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [theme]})
    driver.get(path.resolve().as_uri())


def errors(driver):
    """The messages in the browser's console."""
    return [entry["message"] for entry in driver.get_log("browser")]


# For each text: its ratio of contrast with what is behind it, by WCAG 2.1, and whether it is large.
CONTRAST = r"""
const linear = (c) => (c /= 255) <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
const luminance = ([r, g, b]) => 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b);
const parse = (text) => text.match(/[\d.]+/g).map(Number);
function behind(element) {
  for (let each = element; each; each = each.parentElement) {
    const colour = parse(getComputedStyle(each).backgroundColor);
    if (colour.length === 3 || colour[3] === 1) return colour.slice(0, 3);
  }
  return matchMedia("(prefers-color-scheme: dark)").matches ? [0, 0, 0] : [255, 255, 255];
}
const found = [];
for (const element of document.querySelectorAll("body *")) {
  const own = [...element.childNodes].filter((node) => node.nodeType === 3);
  const text = own.map((node) => node.data).join("").trim();
  if (!text || !element.checkVisibility() || element.tagName === "SCRIPT") continue;
  const style = getComputedStyle(element);
  const a = luminance(parse(style.color).slice(0, 3)), b = luminance(behind(element));
  const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
  const size = parseFloat(style.fontSize);
  const large = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700);
  found.push([text.slice(0, 40), ratio, large]);
}
return found;
"""

# Pairs of touching colours that tell things apart in charts, as computed: the shape, its ratio.
SHAPES = r"""
const linear = (c) => (c /= 255) <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
const luminance = ([r, g, b]) => 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b);
const parse = (text) => text.match(/[\d.]+/g).map(Number);
const paper = luminance(parse(getComputedStyle(document.body).backgroundColor));
const found = [];
for (const path of document.querySelectorAll(".area path:not(.grid):not(.row):not(.cell)")) {
  const style = getComputedStyle(path);
  const colour = style.stroke === "none" ? style.fill : style.stroke;
  const one = luminance(parse(colour).slice(0, 3));
  const ratio = (Math.max(one, paper) + 0.05) / (Math.min(one, paper) + 0.05);
  found.push([path.getAttribute("class"), ratio]);
}
return found;
"""

OPEN_ALL = "document.querySelectorAll('details').forEach((each) => (each.open = true))"
WIDTH = "return document.scrollingElement.scrollWidth"

# What a pointer can use: links, buttons, fields, folds, charts, and boxes that scroll.
CONTROLS = r"""
const can = "a[href], button, input, summary, .plot .area, .scroll, pre";
return [...document.querySelectorAll(can)].filter((each) => each.checkVisibility()).length;
"""
FOCUSED = r"""
const each = document.activeElement;
if (each === document.body) return null;
each.dataset.seen ??= String(document.querySelectorAll("[data-seen]").length);
const style = getComputedStyle(each);
return [each.dataset.seen, each.matches(":focus-visible") && style.outlineStyle !== "none"];
"""
