"""A detection set that is drawn: circles, squares and triangles on textures, with their boxes, in
ultralytics' layout. The same seed draws the same files.
"""

from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor

KINDS = ("circle", "square", "triangle")
MOST = 4  # shapes in an image


def draw_set(folder: Path, *, train: int, val: int, size: int, seed: int) -> Path:
    """Draw the images and labels into `folder` and return the path of data.yaml."""
    random = np.random.default_rng(seed)
    for split, number in (("train", train), ("val", val)):
        images, labels = folder / "images" / split, folder / "labels" / split
        images.mkdir(parents=True)
        labels.mkdir(parents=True)
        for index in range(number):
            image, rows = draw_image(random, size)
            image.save(images / f"{index:04}.png")
            (labels / f"{index:04}.txt").write_text("".join(rows))
    names = "".join(f"  {place}: {name}\n" for place, name in enumerate(KINDS))
    text = f"path: {folder.resolve()}\ntrain: images/train\nval: images/val\nnames:\n{names}"
    (folder / "data.yaml").write_text(text)
    return folder / "data.yaml"


def read_batches(folder: Path, size: int) -> list[tuple[Tensor, dict[str, Tensor]]]:
    """The training images in batches of `size`: images (N, 3, H, W) in 0..1, and their boxes as
    ultralytics' loss takes them.
    """
    files = sorted((folder / "images" / "train").iterdir())
    batches = []
    for start in range(0, len(files), size):
        images, rows, places = [], [], []
        for place, file in enumerate(files[start : start + size]):
            images.append(torch.from_numpy(np.array(Image.open(file))).permute(2, 0, 1) / 255)
            found = np.loadtxt(folder / "labels" / "train" / f"{file.stem}.txt", ndmin=2)
            rows.append(torch.from_numpy(found).float())
            places += [place] * len(found)
        boxes = torch.cat(rows)
        truth = {"batch_idx": torch.tensor(places), "cls": boxes[:, :1], "bboxes": boxes[:, 1:]}
        batches.append((torch.stack(images), truth))
    return batches


def draw_image(random: np.random.Generator, size: int) -> tuple[Image.Image, list[str]]:
    """An image with one to four shapes, and a label row for each: class, centre, width, height."""
    coarse = random.integers(0, 256, (8, 8, 3), dtype=np.uint8)
    image = Image.fromarray(coarse).resize((size, size), Image.Resampling.BICUBIC)
    pen = ImageDraw.Draw(image)
    rows = []
    for _ in range(random.integers(1, MOST + 1)):
        kind = int(random.integers(len(KINDS)))
        side = int(random.integers(size // 7, size // 3))
        left, top = (int(each) for each in random.integers(0, size - side, 2))
        colour = tuple(int(each) for each in random.integers(0, 256, 3))
        box = (left, top, left + side, top + side)
        draw_shape(pen, KINDS[kind], box, colour)
        middle = ((left + side / 2) / size, (top + side / 2) / size)
        rows.append(f"{kind} {middle[0]:.6f} {middle[1]:.6f} {side / size:.6f} {side / size:.6f}\n")
    return image, rows


def draw_shape(
    pen: ImageDraw.ImageDraw, kind: str, box: tuple[int, int, int, int], colour: tuple[int, ...]
) -> None:
    """Draw a shape that fills its box, with a dark outline."""
    left, top, right, bottom = box
    style = {"fill": colour, "outline": (0, 0, 0), "width": 2}
    if kind == "circle":
        pen.ellipse(box, **style)
    elif kind == "square":
        pen.rectangle(box, **style)
    else:
        pen.polygon([(left, bottom), (right, bottom), ((left + right) // 2, top)], **style)
