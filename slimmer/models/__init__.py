"""Networks by name: built-in ones, those of torchvision and timm, and those of the user's files."""

from torch import nn

from slimmer.errors import ModelError
from slimmer.models import cifar_preresnet, cifar_resnet, cifar_vgg, resnet, wide_resnet
from slimmer.models.architecture import Architecture
from slimmer.models.packages import PACKAGES, package_architecture
from slimmer.models.user_model import file_architecture
from slimmer.registry import hint

__all__ = ["Architecture", "build", "find", "names"]

_BUILT_IN = (
    *cifar_resnet.ARCHITECTURES,
    *cifar_preresnet.ARCHITECTURES,
    *cifar_vgg.ARCHITECTURES,
    *wide_resnet.ARCHITECTURES,
    *resnet.ARCHITECTURES,
)
_OWN = {each.name: each for each in _BUILT_IN}


def names() -> tuple[str, ...]:
    """The names of the built-in architectures, in a fixed order."""
    return tuple(_OWN)


def find(arch: str) -> Architecture:
    """The architecture of that name: a built-in one, torchvision/NAME, timm/NAME or
    path/to/file.py:factory.

    Raises ModelError if there is none.

    >>> find("cifar_resnet20").input_size
    (3, 32, 32)
    """
    if arch in _OWN:
        return _OWN[arch]
    if arch.endswith(".py") or ".py:" in arch:
        return file_architecture(arch)
    if arch.partition("/")[0] in PACKAGES and "/" in arch:
        return package_architecture(arch)
    right = f"{hint(arch, _OWN)}; or torchvision/NAME, timm/NAME, path/to/file.py:factory"
    raise ModelError("architecture", f"{arch!r} is not known", right)


def build(
    arch: str | Architecture, *, num_classes: int | None = None, in_channels: int | None = None
) -> nn.Module:
    """A network of that architecture with random weights; sizes that are not given are the
    architecture's defaults.

    Raises ModelError if the architecture is not known or can't be built.

    >>> build("cifar_resnet8", num_classes=7).linear.out_features
    7
    """
    architecture = find(arch) if isinstance(arch, str) else arch
    return architecture.factory(
        num_classes=architecture.num_classes if num_classes is None else num_classes,
        in_channels=architecture.input_size[0] if in_channels is None else in_channels,
    )
