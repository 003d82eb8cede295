"""Tasks that are drawn: shapes to segment, numbers to tell, several labels, and two outputs."""

import torch
from torch import nn
from torch.nn.functional import cross_entropy, mse_loss
from torch.utils.data import DataLoader, TensorDataset
from torchmetrics import JaccardIndex, MeanSquaredError

SIZE = 16
CLASSES = 3


class UNet(nn.Module):
    """Two levels, with a connection at the upper one."""

    input_size = (1, SIZE, SIZE)

    def __init__(self, classes=CLASSES):
        super().__init__()
        self.down = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU())
        self.deep = nn.Sequential(
            nn.MaxPool2d(2), nn.Conv2d(8, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU()
        )
        self.up = nn.ConvTranspose2d(16, 8, 2, stride=2)
        self.out = nn.Sequential(
            nn.Conv2d(16, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, classes, 1)
        )

    def forward(self, x):
        fine = self.down(x)
        return self.out(torch.cat([fine, self.up(self.deep(fine))], 1))


class TwoHeads(nn.Module):
    """Two outputs by name, of different sizes."""

    input_size = (1, SIZE, SIZE)

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(1, 12, 3, padding=1), nn.BatchNorm2d(12), nn.ReLU())
        self.map = nn.Conv2d(12, 2, 1)
        self.number = nn.Linear(12, 3)

    def forward(self, x):
        found = self.body(x)
        return {"map": self.map(found), "number": self.number(found.mean((2, 3)))}


def shapes(number, seed):
    """Images (N, 1, 16, 16) with a square (1) and a disc (2) each, and masks (N, 16, 16)."""
    generator = torch.Generator().manual_seed(seed)
    rows, columns = torch.meshgrid(torch.arange(SIZE), torch.arange(SIZE), indexing="ij")
    images = torch.rand(number, 1, SIZE, SIZE, generator=generator) * 0.3
    masks = torch.zeros(number, SIZE, SIZE, dtype=torch.int64)
    places = torch.randint(2, SIZE - 5, (number, 4), generator=generator)
    for image, mask, (top, left, y, x) in zip(images, masks, places.tolist(), strict=True):
        square = (rows >= top) & (rows < top + 5) & (columns >= left) & (columns < left + 5)
        disc = (rows - y) ** 2 + (columns - x) ** 2 <= 9
        image[0][square], mask[square] = 0.8, 1
        image[0][disc], mask[disc] = -0.6, 2
    return images, masks


class Noisy(torch.utils.data.Dataset):
    """Images with noise that is drawn when one is read, from the default generator."""

    def __init__(self, images, targets):
        self.images, self.targets = images, targets

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        image = self.images[index]
        return image + 0.05 * torch.randn(image.shape), self.targets[index]


class Shapes:
    """Semantic segmentation with cross entropy and mIoU."""

    logits = True

    def __init__(self, workers=0, number=48):
        self.train = DataLoader(
            Noisy(*shapes(number, 0)), 8, shuffle=True, num_workers=workers, drop_last=True
        )
        self.test = DataLoader(TensorDataset(*shapes(20, 1)), 8)
        self.meters = {"mIoU": JaccardIndex(task="multiclass", num_classes=CLASSES)}
        self.higher_is_better = {"pixels": True}

    def loss(self, outputs, batch):
        return cross_entropy(outputs, batch[1])

    def metrics(self, outputs, batch):
        return {"mIoU": (outputs.argmax(1), batch[1]), "pixels": outputs.argmax(1) == batch[1]}


class Distilled:
    """Unlabelled images: nothing but distillation, and nothing is measured."""

    def __init__(self):
        self.train = DataLoader(shapes(32, 0)[0], 8, shuffle=True)
        self.test = DataLoader(shapes(16, 1)[0], 8)


class Means:
    """Regression of an image's mean and spread."""

    def __init__(self):
        images, _ = shapes(40, 0)
        targets = torch.stack([images.mean((1, 2, 3)), images.std((1, 2, 3))], 1)
        self.train = DataLoader(TensorDataset(images, targets), 8, shuffle=True)
        self.test = DataLoader(TensorDataset(images[:16], targets[:16]), 8)
        self.meters = {"MSE": MeanSquaredError()}

    def loss(self, outputs, batch):
        return mse_loss(outputs, batch[1])


def regression_net():
    """Two numbers of an image."""
    layers = [nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU()]
    layers += [nn.Conv2d(16, 16, 3, stride=2), nn.ReLU()]
    net = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 2))
    net.input_size = (1, SIZE, SIZE)
    return net


def make():
    return Shapes()


def means():
    return Means()


def distilled():
    return Distilled()


def with_masks():
    """Data for the ready-made segmentation: images in 0..1 as floats, and masks."""
    images, masks = shapes(48, 0)
    tested, wanted = shapes(20, 1)
    return {"train": (images, masks), "test": (tested, wanted), "augment": "crop_flip"}


def with_numbers():
    """Data for the ready-made regression: the mean and the spread of an image."""
    images, _ = shapes(48, 0)
    numbers = torch.stack([images.mean((1, 2, 3)), images.std((1, 2, 3))], 1)
    return (images, numbers), (images[:16], numbers[:16])


def with_several():
    """Data for the ready-made multi-label task: whether the square and the disc are to the left."""
    images, masks = shapes(48, 0)
    columns = torch.arange(SIZE).expand_as(masks)
    labels = []
    for kind in (1, 2):
        inside = (masks == kind).float()
        middle = (inside * columns).sum((1, 2)) / inside.sum((1, 2)).clamp_min(1)
        labels.append((middle < SIZE / 2).float())
    labels = torch.stack(labels, 1)
    return (images, labels), (images[:20], labels[:20])
