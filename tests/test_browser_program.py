"""The program of docs/deploy.md for browsers, run in Chromium with onnxruntime-web.

`npm install onnxruntime-web` in a folder, and ONNXRUNTIME_WEB=FOLDER/node_modules/onnxruntime-web.
"""

import json
import os
import re
import shutil
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch
from browser import browser, errors

from slimmer.exporting.onnx import export_onnx
from slimmer.models import build

ROOT = Path(__file__).parents[1]
PACKAGE = os.environ.get("ONNXRUNTIME_WEB")
MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)
PAGE = """<!doctype html><title>waiting</title>
<script type="importmap">{"imports": {"onnxruntime-web": "./web/ort.bundle.min.mjs"}}</script>
<script type="module">
  try {
    const { classify } = await import("./classify.mjs");
    const image = await (await fetch("image.json")).json();
    const pixels = new ImageData(new Uint8ClampedArray(image.data), image.width, image.height);
    document.title = `class ${await classify(pixels, image.mean, image.std)}`;
  } catch (error) { document.title = `failed: ${error}`; }
</script>
"""


class Quiet(SimpleHTTPRequestHandler):
    """A server of files that prints nothing."""

    def log_message(self, *_):
        pass


@pytest.mark.slow
@pytest.mark.skipif(PACKAGE is None, reason="set ONNXRUNTIME_WEB to the folder of the npm package")
def test_the_program_for_browsers_gives_pytorchs_answer(tmp_path):
    text = (ROOT / "docs" / "deploy.md").read_text(encoding="utf-8")
    (program,) = re.findall(r"^```javascript\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    torch.manual_seed(0)
    model = build("cifar_resnet8", num_classes=7).eval()
    pixels = torch.randint(0, 256, (3, 32, 32))
    scaled = pixels / 255 - torch.tensor(MEAN).view(3, 1, 1)
    with torch.inference_mode():
        answer = int(model((scaled / torch.tensor(STD).view(3, 1, 1))[None]).argmax())
    rgba = torch.cat([pixels, torch.full((1, 32, 32), 255)]).permute(1, 2, 0)
    image = {"data": rgba.flatten().tolist(), "width": 32, "height": 32, "mean": MEAN, "std": STD}
    (tmp_path / "image.json").write_text(json.dumps(image))
    (tmp_path / "classify.mjs").write_text(program)
    (tmp_path / "index.html").write_text(PAGE)
    shutil.copytree(Path(PACKAGE) / "dist", tmp_path / "web")
    export_onnx(model, tmp_path / "slim.onnx", (3, 32, 32), metadata={})
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=tmp_path))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        with browser(tmp_path / "profile") as driver:
            driver.get(f"http://127.0.0.1:{server.server_port}/index.html")
            from selenium.webdriver.support.ui import WebDriverWait

            WebDriverWait(driver, 60).until(lambda found: found.title != "waiting")
            assert driver.title == f"class {answer}", errors(driver)
    finally:
        server.shutdown()
        server.server_close()
