"""The pages in a real browser: nothing fails, overflows, or is out of the keyboard's reach."""

import copy
import json

import pytest
from browser import CONTRAST, CONTROLS, FOCUSED, OPEN_ALL, SHAPES, WIDTH, browser, errors, show
from run_samples import comparison, profile, report, timing

from slimmer.recipe import read_recipe
from slimmer.reports.page.compare_page import write_compare_page
from slimmer.reports.page.render import page
from slimmer.reports.page.run_files import RunFiles
from slimmer.runs.directory import Run

WIDTHS = (380, 1280)
LONG = "features.transition.denselayer.with_a_very_long_name_that_never_ends." * 3
TEXT, LARGE, GRAPHIC = 4.5, 3.0, 3.0  # ratios of contrast that WCAG 2.1 AA asks for


def events():
    found = [{"event": "begun", "time": 0.0, "run": "run"}]
    for step in range(1, 41):
        at = {"time": float(step), "step": step, "epoch": step / 10}
        if step <= 20:
            kept = 1 - step / 40
            widths = [max(1, 16 - step // 2), 16, max(2, 32 - step)]
            found.append(
                {"event": "masks", **at, "histogram": [step, 0, 3, 61 - step], "widths": widths}
            )
            costs = {"flops": kept, "params": kept / 2 + 0.5}
        else:
            costs = {}
        rest = {"steps": 40, "loss": 2 / step, "batch_accuracy": 0.5, "images_per_s": 9.0}
        found.append({"event": "step", **at, **rest, **costs})
        if step == 20:
            removed = {"accuracy": 0.5, "flops": 0.5, "params": 0.6}
            found.append({"event": "removed", "time": 20.0, "step": 20, **removed})
        if step > 20 and step % 10 == 0:
            found.append({"event": "epoch", **at, "accuracy": 0.7 + step / 400})
    return found


def everything(folder):
    """The files of a run in which every section has something to show."""
    timings = [
        timing(2.0),
        timing(1.6, model="slim"),
        timing(0.9, model="slim", batch=64),
        timing(2.0, batch=64),
    ]
    compared = [
        comparison(1.25, low=1.2, high=1.3, promise=2.0, efficiency=0.625),
        comparison(
            0.8, low=0.7, high=0.95, promise=2.0, efficiency=0.4, batch=64, verdict="slower"
        ),
    ]
    measured = profile(timings, compared)
    measured["notes"] = ["The machine was busy. `slimmer prune --round-to 16` may be faster."]
    trace = {
        "nodes": {"CPUExecutionProvider": 3},
        "on_cpu": [],
        "memcpy": [],
        "shares": {"Conv": 0.9, "Add": 0.1},
    }
    for name in ("dense", "slim"):
        layers = {"conv1": 0.5, LONG: 0.4}
        case = {"model": name, "runtime": "onnxruntime", "threads": None, "batch": 1}
        measured["traces"].append({**case, "trace": {**trace, "layers": layers}})
    budget = {"limit": 500.0, "limit_ratio": 0.5, "ratio": 0.499}
    layers = []
    for number in range(30):
        flops = {"dense": 1000, "slim": 400 + number}
        layers.append(
            {
                "name": f"layer{number // 9}.conv{number}",
                "kind": "conv",
                "dense": 16 + number,
                "slim": 8 + number,
                "flops": flops,
            }
        )
    layers.append(
        {"name": LONG, "kind": "linear", "dense": 99, "slim": 33, "flops": {"dense": 5, "slim": 1}}
    )
    found = report(
        flops=report()["flops"] | budget | {"dense": 40000, "slim": 20000},
        groups=[
            {"name": name, "dense": size, "slim": size // 2}
            for name, size in (("a", 16), ("b", 16), (LONG, 32))
        ],
        layers=layers,
        fixed=[{"layer": LONG, "channels": 10, "of": 10, "reason": "the network's output " * 9}],
        before_projection={"flops": 0.55, "params": 0.7},
        epochs=4.0,
        run=f"runs/{LONG}",
    )
    parity = {
        "random": {
            "images": 64,
            "max_abs": 1e-6,
            "max_rel": 1e-6,
            "top1_agreement": 1.0,
            "tolerance": 1.0,
        }
    }
    entry = {
        "file": "slim.onnx",
        "bytes": 1000,
        "precision": "fp32",
        "batch": "any",
        "image_size": "1x16x16",
        "parity": parity,
        "accuracy": 0.9,
        "notes": ["calibrated"],
    }
    (folder / "slim.onnx").touch()
    recipe = read_recipe(None, [("budget.flops", 0.5)])
    return RunFiles(Run(folder), recipe, found, events(), {"networks": {"slim": entry}}, measured)


def compared(folder):
    """A comparison of five rows, one of them without a latency, of runs in `folder`."""

    def stat(mean):
        return {"mean": mean, "std": 0.01, "n": 2}

    rows = []
    for number, (method, left, top1) in enumerate(
        [
            ("taylor", 0.3, 0.8),
            ("taylor", 0.5, 0.9),
            ("l1", 0.5, 0.85),
            ("l1", 0.7, 0.95),
            ("random", 0.7, 0.7),
        ]
    ):
        run = folder / f"run-{number}"
        run.mkdir(exist_ok=True)
        (run / "report.json").write_text(json.dumps(report()))
        (run / "report.html").write_text("<!doctype html><title>run</title>")
        cost = {
            "budget": left,
            "limit_ratio": left,
            "ratio": stat(left),
            "sparsity": stat(1 - left),
            "miss": stat(0.0),
        }
        place = {
            "cpu, batch 1": {
                "dense_ms": stat(2.0),
                "slim_ms": stat(2 * left),
                "speedup": stat(1 / left),
            }
        }
        rows.append(
            {
                "method": method,
                "settings": {"finetune.lr": left},
                "runs": [str(run)],
                "seeds": [0],
                "flops": cost,
                "params": cost,
                "masks_left": None,
                "accuracy": {"dense": stat(0.97), "removed": stat(0.4), "slim": stat(top1)},
                "epochs": 3.0,
                "seconds": stat(60.0),
                "profiled": place if number else {},
            }
        )
    conventions = {"flops": "by hand", "params": "by hand"}
    return {
        "format": 1,
        "slimmer": "0.1.0",
        "arch": "cifar_resnet8",
        "inputs": "one image",
        "data": "digits",
        "dense": {"flops": 1000, "params": 1000},
        "conventions": conventions,
        "rows": rows,
        "notes": [],
    }


@pytest.fixture(scope="module")
def driver(tmp_path_factory):
    with browser(tmp_path_factory.mktemp("profile")) as started:
        yield started


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    path = folder / "report.html"
    path.write_text(page(everything(folder)), encoding="utf-8")
    return {
        "report": path,
        "compare": write_compare_page(folder / "compare.html", compared(folder)),
    }


@pytest.fixture(params=["report", "compare"])
def opened(request, pages):
    return pages[request.param]


@pytest.mark.parametrize("width", WIDTHS)
def test_nothing_fails_and_nothing_overflows(driver, opened, width):
    show(driver, opened, width=width)
    driver.execute_script(OPEN_ALL)
    assert driver.execute_script(WIDTH) == width
    assert errors(driver) == []


@pytest.mark.parametrize("dark", [False, True])
def test_contrast_meets_aa(driver, opened, dark):
    show(driver, opened, dark=dark)
    driver.execute_script(OPEN_ALL)
    texts = driver.execute_script(CONTRAST)
    assert len(texts) > 40
    assert [each for each in texts if each[1] < (LARGE if each[2] else TEXT)] == []
    assert [each for each in driver.execute_script(SHAPES) if each[1] < GRAPHIC] == []


def test_the_dark_page_is_dark(driver, opened):
    colours = []
    for dark in (False, True):
        show(driver, opened, dark=dark)
        colours.append(
            driver.execute_script("return getComputedStyle(document.body).backgroundColor")
        )
    assert colours == ["rgb(255, 255, 255)", "rgb(14, 19, 24)"]


def test_the_keyboard_reaches_every_control_and_shows_where_it_is(driver, opened):
    from selenium.webdriver.common.keys import Keys

    show(driver, opened)
    driver.execute_script(OPEN_ALL)
    number = driver.execute_script(CONTROLS)
    seen = {}
    for _ in range(number + 5):
        driver.switch_to.active_element.send_keys(Keys.TAB)
        focused = driver.execute_script(FOCUSED)
        if focused:
            seen[focused[0]] = focused[1]
    assert len(seen) == number
    assert all(seen.values())


DRAWN = """
const extent = (path) => path.getBBox().width + path.getBBox().height;
const drawn = (svg) => [...svg.querySelectorAll("path")].filter((path) => extent(path) > 0);
return [...document.querySelectorAll(".area svg")].map((svg) => drawn(svg).length);
"""
FILLS = """
const share = (fill) => fill.offsetWidth / fill.parentElement.offsetWidth;
return [...document.querySelectorAll(".fill")].map(share);
"""


def test_every_chart_is_drawn(driver, pages):
    show(driver, pages["report"])
    drawn = driver.execute_script(DRAWN)
    assert len(drawn) == 7  # widths, time, accuracy, loss, and three of masks
    assert min(drawn) >= 1
    assert driver.execute_script(FILLS) == pytest.approx([0.499, 0.5], abs=0.002)


def test_arrow_keys_and_the_pointer_show_values(driver, pages):
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys

    show(driver, pages["report"])
    area = driver.find_element(By.CSS_SELECTOR, "#network .area")
    tip = area.find_element(By.CSS_SELECTOR, ".tip")
    area.send_keys(Keys.ARROW_RIGHT)
    assert tip.text == "layer0.conv0: dense 16, slim 8"
    area.send_keys(Keys.ARROW_RIGHT)
    assert tip.text == "layer0.conv1: dense 17, slim 9"
    area.send_keys(Keys.END)
    assert "dense 99, slim 33" in tip.text
    area.send_keys(Keys.ESCAPE)
    assert not tip.is_displayed()
    ActionChains(driver).move_to_element(area).perform()
    assert "layer1.conv15" in tip.text  # the middle one of 31


def test_tables_sort_by_number_and_by_text(driver, pages):
    from selenium.webdriver.common.by import By

    show(driver, pages["report"])
    driver.execute_script(OPEN_ALL)
    table = driver.find_element(By.CSS_SELECTOR, "#network table")
    slim = table.find_elements(By.CSS_SELECTOR, "thead button")[2]

    def column(number):
        return [
            each.text
            for each in table.find_elements(By.CSS_SELECTOR, f"tbody tr > :nth-child({number})")
        ]

    slim.click()
    slim.click()
    assert list(map(int, column(3))) == [
        *range(37, 32, -1),
        33,
        *range(32, 7, -1),
    ]
    table.find_element(By.CSS_SELECTOR, "thead button").click()
    assert column(1)[1:4] == ["layer0.conv0", "layer0.conv1", "layer0.conv2"]


def test_a_filter_leaves_rows_points_and_their_front(driver, pages):
    from selenium.webdriver.common.by import By

    show(driver, pages["compare"])
    chart = driver.find_element(By.CSS_SELECTOR, ".scatter")

    def dots(selector):
        found = chart.find_elements(By.CSS_SELECTOR, selector)
        return [each.get_attribute("data-row") for each in found if each.is_displayed()]

    assert dots(".area .dot") == ["0", "1", "2", "3", "4"]
    assert dots(".area .best") == ["0", "1", "3"]
    field = driver.find_element(By.ID, "filter")
    field.send_keys("l1")
    assert dots(".area .best") == ["2", "3"]
    assert driver.find_element(By.ID, "shown").text == "2 of 5 rows"
    field.clear()
    field.send_keys(" ")
    driver.find_element(By.ID, "only-front").click()
    assert dots(".area .dot") == ["0", "1", "3"]


def test_a_click_on_a_row_or_a_point_opens_the_run(driver, pages):
    from selenium.webdriver.common.by import By

    for selector in ("#row-1 td", ".scatter .dot[data-row='1']"):
        show(driver, pages["compare"])
        driver.find_element(By.CSS_SELECTOR, selector).click()
        assert driver.current_url.endswith("/run-1/report.html")


def test_the_page_can_be_read_without_its_script(driver, pages):
    driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        show(driver, pages["report"])
        text = driver.find_element("tag name", "body").text
    finally:
        driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
    assert "49.9" in text
    assert "1.25x" in text


def test_a_print_is_light_and_shows_everything_but_controls(driver, pages):
    show(driver, pages["report"])
    dark = {"name": "prefers-color-scheme", "value": "dark"}
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print", "features": [dark]})
    try:
        driver.execute_script("dispatchEvent(new Event('beforeprint'))")
        closed = driver.execute_script(
            "return document.querySelectorAll('details:not([open], .values)').length"
        )
        shown = driver.execute_script("return document.querySelector('nav').checkVisibility()")
        colour = driver.execute_script("return getComputedStyle(document.body).backgroundColor")
        texts = driver.execute_script(CONTRAST)
        arrow = driver.execute_script(
            "return getComputedStyle(document.querySelector('th button'), '::after').content"
        )
    finally:
        driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})
    assert (closed, shown, colour) == (0, False, "rgb(255, 255, 255)")
    assert arrow == "none"
    assert [each for each in texts if each[1] < (LARGE if each[2] else TEXT)] == []


def test_markup_in_names_does_nothing(driver, tmp_path):
    files = everything(tmp_path)
    hostile = copy.deepcopy(dict(files.report))
    for row in (*hostile["layers"], *hostile["groups"]):
        row["name"] = f"<img src=x onerror=\"document.title='run'\">{row['name']}</script>"
    path = tmp_path / "report.html"
    found = RunFiles(files.run, files.recipe, hostile, files.events, files.exported, files.profile)
    path.write_text(page(found), encoding="utf-8")
    show(driver, path)
    assert driver.title == "cifar_resnet8, pruned"
    assert driver.execute_script("return document.images.length") == 0
    assert errors(driver) == []
