"""The call that prunes a network gradually in a training loop of the user's."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from slimmer.api.arguments import recipe_of, recipe_settings
from slimmer.api.attached import Attached
from slimmer.api.task_arguments import give_example
from slimmer.errors import ModelError, RecipeError
from slimmer.models.accept_model import accept, is_compiled, unwrapped
from slimmer.pipeline.attached_run import attached_job
from slimmer.pipeline.surroundings import undisturbed
from slimmer.recipe.costs import budgets_on
from slimmer.runs.events import Observe


@undisturbed()
def attach(
    model: nn.Module,
    example_inputs: Any = None,
    *,
    steps: int,
    flops: float | str | None = None,
    params: float | str | None = None,
    budgets: Mapping[str, float | str] | None = None,
    interval: int | None = None,
    memory: float = 0.98,
    recipe: str | Path | None = None,
    observe: Observe | None = None,
    **settings: Any,
) -> Attached:
    """Prune a module gradually while you train it in a loop of your own.

    Masks act in the module itself, whenever it or a part of it runs. Its parameters, their names
    and your optimizer stay the same. Scores are running averages of squared gradients of your loss
    by the masks (Taylor), and masks of zero get gradients too, so an important channel returns. The
    budget falls from dense to the target along 1 - (1 - t)^3 over `steps` steps.

    Call `step()` of what this returns after each step of your optimizer, and `finish()` at the end.

    Args:
        model: the network, in the form in which it is trained; also inside DistributedDataParallel.
        example_inputs: a batch of images (N, C, H, W), of which FLOPs are counted for one; or a
            tuple or a dictionary of all arguments of one call. Default: the network's attribute
            `example_inputs`, or the setting `input_size`.
        steps: the number of optimizer steps over which the budget falls.
        flops: maximum FLOPs (multiply-adds) after pruning: 0.5, "50%" or "1.8G".
        params: maximum number of parameters after pruning.
        budgets: maximum of other costs after pruning, by the names of the costs.
        interval: steps between two changes of the masks. Default: 20, or a twentieth of `steps` if
            that is less.
        memory: how much of the running scores stays at each step, 0 to 1.
        recipe: a YAML recipe or the name of a built-in recipe; the other arguments override it.
        observe: called with every event, a dictionary with its kind under "event".
        settings: keep, only, round_to, and any other recipe key of the sections model, budget and
            method, as in `**{"method.stream": 0.5}`.

    Raises:
        SlimmerError: the network can't be pruned, is attached or compiled already, or the budgets
            can't be met.

    >>> import torch, slimmer
    >>> from slimmer.models import build
    >>> net, images = build("cifar_resnet8", in_channels=1).train(), torch.rand(4, 1, 8, 8)
    >>> optimizer = torch.optim.SGD(net.parameters(), lr=0.01)
    >>> pruned = slimmer.attach(net, images, flops=0.5, steps=1)
    >>> net(images).square().mean().backward()
    >>> _ = optimizer.step(), pruned.step()
    >>> pruned.finish().report["flops"]["ratio"] <= 0.5
    True
    """
    every = _interval(steps=steps, interval=interval, memory=memory)
    inside, dense = _module_of(model), accept(model).cpu()
    given = budgets_on([("flops", flops), ("params", params), *(budgets or {}).items()])
    given += [*recipe_settings(settings), *give_example(dense, example_inputs)]
    job = attached_job(recipe_of(recipe, given), dense, observe or (lambda _: None))
    return Attached(inside, job, steps, every, memory)


def _module_of(model: nn.Module) -> nn.Module:
    """The module inside its wrappers. Raises ModelError for a compiled one."""
    inside, _ = unwrapped(model)
    if is_compiled(model):
        found = "is compiled by torch.compile, which would not see the masks"
        raise ModelError(type(inside).__name__, found, "attach first, and compile afterwards")
    return inside


def _interval(*, steps: int, interval: int | None, memory: float) -> int:
    """The steps between two changes of the masks. Raises RecipeError unless the numbers are in
    their ranges.
    """
    for name, value in (("steps", steps), ("interval", interval)):
        if value is not None and (type(value) is not int or value < 1):
            raise RecipeError(name, f"is {value!r}", "give a whole number, at least 1")
    if not 0 <= memory < 1:
        raise RecipeError("memory", f"is {memory!r}", "give a number of at least 0 and below 1")
    return interval or max(1, min(20, steps // 20))
