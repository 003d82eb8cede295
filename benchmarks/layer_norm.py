"""What is lost by never cutting channels that a layer norm takes statistics of: one small
transformer, two ways.

    python benchmarks/layer_norm.py

A pre-norm transformer learns scikit-learn's digits. It is then cut to the same FLOPs in two ways
and trained on by one loop: as slimmer does (hidden widths alone, exact), and by hand through the
residual stream with the norms over what is left (approximate). Printed: FLOPs, top-1 of both before
and after training, and how far one removed stream channel takes the outputs from the masked
network's.
"""

import torch
from torch import nn
from torch.nn import functional

import slimmer
from slimmer.costs.flops import count_flops
from slimmer.data import load

WIDTH, HIDDEN, INNER, BLOCKS, EPOCHS = 64, 128, 32, 3, 20
SIZE = (1, 16, 16)
Split = tuple[torch.Tensor, torch.Tensor]  # images and labels


class Block(nn.Module):
    """Attention and an MLP behind layer norms, each added to the stream."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.proj = nn.Linear(width, 3 * INNER), nn.Linear(INNER, width)
        self.fc1, self.fc2 = nn.Linear(width, hidden), nn.Linear(hidden, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, tokens, width) -> the same."""
        q, k, v = (
            self.qkv(self.norm1(x))
            .unflatten(-1, (3, 2, INNER // 2))
            .permute(2, 0, 3, 1, 4)
            .unbind(0)
        )
        x = x + self.proj(
            functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        )
        return x + self.fc2(functional.gelu(self.fc1(self.norm2(x))))


class Transformer(nn.Module):
    """Patches of 4x4, a learned position, blocks, the mean of the tokens."""

    def __init__(self, width: int = WIDTH, hidden: int = HIDDEN) -> None:
        super().__init__()
        self.patch = nn.Conv2d(1, width, 4, 4)
        self.position = nn.Parameter(0.02 * torch.randn(1, 16, width))
        self.blocks = nn.Sequential(*(Block(width, hidden) for _ in range(BLOCKS)))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, 1, 16, 16) -> (N, 10)."""
        x = self.patch(x).flatten(2).transpose(1, 2) + self.position
        return self.head(self.norm(self.blocks(x)).mean(1))


def train(
    model: nn.Module, teacher: nn.Module | None, split: Split, epochs: int, lr: float
) -> None:
    """AdamW along a cosine, towards the labels and a teacher's answers."""
    images, labels = split
    optimizer = torch.optim.AdamW(model.parameters(), lr, weight_decay=0.01)
    steps = epochs * (len(images) // 64)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, lr, total_steps=steps)
    for _ in range(steps):
        chosen = torch.randint(len(images), (64,))
        answer = model(images[chosen])
        loss = functional.cross_entropy(answer, labels[chosen])
        if teacher is not None:
            with torch.no_grad():
                target = functional.softmax(teacher(images[chosen]), 1)
            loss = 0.1 * loss + 0.9 * functional.cross_entropy(answer, target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()


@torch.no_grad()
def top1(model: nn.Module, split: Split) -> float:
    """The share of the images that are told right."""
    return float((model(split[0]).argmax(1) == split[1]).float().mean())


def by_norm(*tensors: torch.Tensor) -> torch.Tensor:
    """Channels by the norm of all that touches them; each tensor has them first."""
    return sum(tensor.flatten(1).square().sum(1) for tensor in tensors).argsort(descending=True)


@torch.no_grad()
def cut(dense: Transformer, width: int, hidden: int) -> Transformer:
    """The transformer with `width` channels in the stream and `hidden` in each MLP; norms over what
    is left.
    """
    slim = Transformer(width, hidden)
    inside = [
        (each.qkv.weight.t(), each.proj.weight, each.fc1.weight.t(), each.fc2.weight)
        for each in dense.blocks
    ]
    makers = (
        dense.patch.weight,
        dense.head.weight.t(),
        *(tensor for block in inside for tensor in block),
    )
    keep = by_norm(*makers)[:width].sort().values
    inner = [
        by_norm(block.fc1.weight, block.fc2.weight.t())[:hidden].sort().values
        for block in dense.blocks
    ]
    own = dense.state_dict()
    for name, tensor in slim.state_dict().items():
        source = own[name]
        for dim in range(source.dim()):
            if source.shape[dim] == WIDTH:
                source = source.index_select(dim, keep)
            elif source.shape[dim] == HIDDEN:
                source = source.index_select(dim, inner[int(name.split(".")[1])])
        tensor.copy_(source)
    return slim


@torch.no_grad()
def one_channel(dense: Transformer, images: torch.Tensor) -> float:
    """How far a stream without its weakest channel is from the same network masked, as a share of
    the outputs.
    """
    slim = cut(dense, WIDTH - 1, HIDDEN)
    inside = [
        (each.qkv.weight.t(), each.proj.weight, each.fc1.weight.t(), each.fc2.weight)
        for each in dense.blocks
    ]
    gone = by_norm(
        dense.patch.weight, dense.head.weight.t(), *(tensor for block in inside for tensor in block)
    )[-1]
    masked = Transformer()
    masked.load_state_dict(dense.state_dict())
    for reader in (
        masked.head,
        *(layer for block in masked.blocks for layer in (block.qkv, block.fc1)),
    ):
        reader.weight[:, gone] = 0
    wanted = masked(images)
    return float((slim(images) - wanted).abs().max() / wanted.abs().max())


def main() -> None:
    data = load("digits", size=16)
    mean, std = (torch.tensor(value).view(1, -1, 1, 1) for value in (data.mean, data.std))
    split = {}
    for name, part in (("train", data.train), ("test", data.test)):
        split[name] = ((part.images.float() / 255 - mean) / std, part.labels)
    print(
        "| seed | FLOPs | hidden alone: after the cut, trained | stream too: after the cut, "
        "trained |"
    )
    print("|---|---|---|---|")
    for seed in range(3):
        torch.manual_seed(seed)
        dense = Transformer()
        train(dense, None, split["train"], 60, 2e-3)
        dense.eval()
        whole = count_flops(dense, SIZE)
        least = slimmer.inspect(dense, input_size=SIZE)["flops"]["least_ratio"]
        off = one_channel(dense, split["test"][0])
        print(
            f"seed {seed}: dense {top1(dense, split['test']):.2%}, least {least:.1%}, one "
            f"channel {off:.2g}"
        )
        for ratio in (0.65, 0.5, 0.3):
            cells = []
            exact = (
                slimmer.prune(dense, flops=ratio, input_size=SIZE).model if ratio > least else None
            )
            width = max(
                w
                for w in range(1, WIDTH + 1)
                if count_flops(Transformer(w, 2 * w), SIZE) <= ratio * whole
            )
            for slim in (exact, cut(dense, width, 2 * width)):
                if slim is None:
                    cells.append("out of reach")
                    continue
                before = top1(slim, split["test"])
                train(slim, dense, split["train"], EPOCHS, 1e-3)
                cells.append(f"{before:.2%}, {top1(slim, split['test']):.2%}")
            print(f"| {seed} | {ratio:.0%} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
