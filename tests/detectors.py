"""Small networks whose end decides by values, so that only parts of them can be traced."""

from collections import OrderedDict

import torch
from torch import nn


def block(entering, leaving):
    return nn.Sequential(
        nn.Conv2d(entering, leaving, 3, padding=1, bias=False),
        nn.BatchNorm2d(leaving),
        nn.ReLU(inplace=True),
    )


class Pyramid(nn.Module):
    """Two maps of different sizes, in an OrderedDict."""

    def __init__(self):
        super().__init__()
        self.stem = block(3, 16)
        self.deep = block(16, 32)
        self.out = nn.ModuleDict({"low": nn.Conv2d(16, 8, 1), "high": nn.Conv2d(32, 8, 1)})

    def forward(self, images):
        low = self.stem(images)
        high = self.deep(nn.functional.max_pool2d(low, 2))
        return OrderedDict(low=self.out["low"](low), high=self.out["high"](high))


class Head(nn.Module):
    """Takes a list of maps and a keyword; gives a dictionary of lists."""

    def __init__(self):
        super().__init__()
        self.mid = block(8, 24)
        self.score = nn.Conv2d(24, 4, 1)
        self.box = nn.Conv2d(24, 4, 1)

    def forward(self, maps, *, scale):
        mids = [self.mid(each) for each in maps]
        return {
            "scores": [self.score(mid) for mid in mids],
            "boxes": [self.box(mid) * scale for mid in mids],
        }


class Detector(nn.Module):
    """A list of images in, for each a dictionary of at most five boxes out."""

    def __init__(self):
        super().__init__()
        self.backbone = Pyramid()
        self.head = Head()

    def forward(self, images):
        maps = self.backbone(torch.stack([image - image.mean() for image in images]))
        found = self.head(list(maps.values()), scale=0.5)
        scores = torch.cat([each.flatten(2) for each in found["scores"]], 2)
        boxes = torch.cat([each.flatten(2) for each in found["boxes"]], 2)
        return [self.choose(*each) for each in zip(scores, boxes, strict=True)]

    def choose(self, scores, boxes):
        best, kind = scores.max(0)
        kept = (best > 0).nonzero().flatten()
        if len(kept) > 5:
            kept = kept[best[kept].topk(5).indices]
        return {"scores": best[kept], "labels": kind[kept], "boxes": boxes[:, kept].T}


class Branching(nn.Module):
    """A classifier that looks twice at what it is not sure of."""

    def __init__(self, *, in_channels=1, num_classes=10):
        super().__init__()
        self.body = nn.Sequential(
            block(in_channels, 16), nn.MaxPool2d(2), block(16, 24), nn.AdaptiveAvgPool2d(1)
        )
        self.linear = nn.Linear(24, num_classes)

    def forward(self, images):
        answer = self.linear(self.body(images).flatten(1))
        if float(answer.detach().std()) < 0.1:
            return answer + self.linear(self.body(images.flip(3)).flatten(1))
        return answer


def detector():
    """A detector for `--arch detectors.py:detector`, drawn from a fixed seed."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = Detector()
    network.input_size = (3, 16, 16)
    return network.eval()
