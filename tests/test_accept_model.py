"""Networks as people give them: wrapped, compiled, of other types, half made; pruned right, or
refused by name.
"""

import contextlib
import copy
import random
import warnings
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from by_hand import assert_slim_is_masked, mask_
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import prune as pruned
from torch.nn.utils.parametrizations import spectral_norm as new_spectral_norm
from torch.utils.flop_counter import FlopCounterMode

import slimmer
from slimmer.errors import BudgetError, ModelError, SlimmerError
from slimmer.models.accept_model import accept

SIZE = (3, 8, 8)


class Plain(nn.Module):
    """Three convolutions, a norm, a linear layer."""

    def __init__(self):
        super().__init__()
        self.one = nn.Conv2d(3, 16, 3, padding=1)
        self.norm = nn.BatchNorm2d(16)
        self.two = nn.Conv2d(16, 16, 3, padding=1)
        self.three = nn.Conv2d(16, 24, 3)
        self.head = nn.Linear(24, 10)

    def forward(self, x):
        x = self.two(self.norm(self.one(x)).relu()).relu()
        return self.head(self.three(x).relu().mean((2, 3)))


@pytest.fixture
def dense():
    torch.manual_seed(0)
    return Plain().eval()


def data(kind=torch.float32):
    draw = torch.Generator().manual_seed(0)
    part = (torch.randn(32, *SIZE, generator=draw).to(kind), torch.arange(32) % 10)
    return part, part


def refused(model, **settings):
    """What a SlimmerError says where `model` is not taken."""
    settings = {
        "flops": 0.5,
        **({} if hasattr(model, "example_inputs") else {"input_size": SIZE}),
        **settings,
    }
    with pytest.raises(SlimmerError) as error:
        slimmer.prune(model, **settings)
    return str(error.value)


# Wrappers


def distributed(model):
    """A DistributedDataParallel around `model` without the process group that it would ask for."""
    wrapper = nn.parallel.DistributedDataParallel.__new__(nn.parallel.DistributedDataParallel)
    nn.Module.__init__(wrapper)
    wrapper.module = model
    return wrapper


def with_a_compiled_part(model):
    model.two = torch.compile(model.two)
    return model


WRAPPERS = (
    torch.compile,
    nn.DataParallel,
    distributed,
    with_a_compiled_part,
    lambda model: torch.compile(nn.DataParallel(model)),
    lambda model: nn.DataParallel(torch.compile(model)),
)


@pytest.mark.parametrize("wrap", WRAPPERS)
def test_the_network_inside_wrappers_is_pruned_and_loaded(tmp_path, dense, wrap):
    image, wrapped = torch.randn(2, *SIZE), wrap(copy.deepcopy(dense))
    before = dense(image)
    result = slimmer.prune(wrapped, flops=0.5, input_size=SIZE, out=tmp_path / "run")
    assert type(result.model) is Plain
    assert type(result.model.two) is nn.Conv2d
    assert slimmer.inspect(wrapped, input_size=SIZE)["arch"] == "Plain"
    again = slimmer.load(result.run, model=wrapped)
    assert torch.equal(again(image), result.model(image))
    assert torch.equal(dense(image), before)
    assert_slim_is_masked(result, dense, image)


def test_a_wrapper_keeps_the_example_that_it_was_given(dense):
    wrapped = nn.DataParallel(dense)
    wrapped.example_inputs = torch.zeros(2, *SIZE)
    assert accept(wrapped).example_inputs is wrapped.example_inputs
    assert not hasattr(dense, "example_inputs")
    assert slimmer.prune(wrapped, flops=0.5).report["flops"]["ratio"] <= 0.5


def test_the_given_network_keeps_its_compiled_parts(dense):
    wrapped = with_a_compiled_part(dense)
    accept(wrapped)
    assert type(wrapped.two).__name__ == "OptimizedModule"


# TorchScript


@pytest.mark.parametrize(
    "make", [torch.jit.script, lambda net: torch.jit.trace(net, torch.zeros(1, *SIZE))]
)
def test_torchscript_is_one_message_at_every_call(tmp_path, dense, make):
    run = slimmer.prune(dense, flops=0.5, input_size=SIZE, out=tmp_path / "run").run
    scripted = make(dense)
    calls = (
        lambda: slimmer.prune(scripted, flops=0.5, input_size=SIZE),
        lambda: slimmer.inspect(scripted, input_size=SIZE),
        lambda: slimmer.load(run, model=scripted),
        lambda: slimmer.export(run, model=scripted),
        lambda: slimmer.profile(run, model=scripted),
    )
    for call in calls:
        with pytest.raises(
            ModelError, match="is compiled by TorchScript, so there is no Python code to prune"
        ):
            call()


# Half-made networks


class MadeInForward(Plain):
    def __init__(self):
        super().__init__()
        self.extra = None

    def forward(self, x):
        if self.extra is None:
            self.extra = nn.Conv2d(3, 3, 1)
        return super().forward(self.extra(x))


def lazy():
    return nn.Sequential(
        nn.LazyConv2d(16, 3), nn.ReLU(), nn.LazyConv2d(24, 3), nn.Flatten(), nn.LazyLinear(5)
    )


def test_lazy_layers_that_never_ran_are_named_and_pruned_once_they_ran():
    model = lazy()
    found = "has lazy layers without a size (0.weight, 0.bias, 2.weight, 2.bias, and 2 more)"
    assert f"Sequential: {found}" in refused(model)
    model(torch.zeros(1, *SIZE))
    assert_slim_is_masked(
        slimmer.prune(model, flops=0.5, input_size=SIZE), model, torch.randn(2, *SIZE)
    )


@pytest.mark.parametrize("rewrite", [False, True])
def test_layers_made_in_the_first_call_are_named_and_pruned_once_they_are_made(rewrite):
    model = MadeInForward().eval()
    found = "MadeInForward: creates layers in its first call (extra)\n  call it once"
    message = refused(model, rewrite=rewrite)
    assert found in message
    assert "--trace" not in message  # called once, the whole network can be traced
    assert model.extra is None
    model(torch.zeros(1, *SIZE))
    result = slimmer.prune(model, flops=0.5, input_size=SIZE, rewrite=rewrite)
    assert_slim_is_masked(result, model, torch.randn(2, *SIZE))


class Listed(nn.Module):
    """Its convolutions lie in a plain list or dictionary, where PyTorch does not find them; so does
    what is unused.
    """

    def __init__(self, kind):
        super().__init__()
        layers = [nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3)]
        self.head = nn.Module()
        self.head.layers = layers if kind is list else {"a": {"first": layers[0]}, "b": layers[1]}
        self.fc = nn.Linear(8, 2)
        self.unused = [nn.Conv2d(3, 3, 1)]

    def forward(self, x):
        held = self.head.layers
        layers = held if isinstance(held, list) else [held["a"]["first"], held["b"]]
        for layer in layers:
            x = layer(x).relu()
        return self.fc(x.mean((2, 3)))


@pytest.mark.parametrize("kind", [list, dict])
def test_layers_in_a_plain_list_are_named_with_what_to_use(kind):
    wanted = {list: "nn.ModuleList", dict: "nn.ModuleDict"}[kind]
    message = refused(Listed(kind))
    assert (
        f"Listed: keeps layers in a plain {kind.__name__}, head.layers, where PyTorch does not find"
        in message
    )
    assert f"use {wanted}: self.layers = {wanted}(self.layers)" in message


def test_layers_in_a_plain_list_that_are_registered_too_or_never_called_are_no_matter():
    model = Listed(list)
    model.head.registered = nn.ModuleList(model.head.layers)
    assert_slim_is_masked(
        slimmer.prune(model, flops=0.5, input_size=SIZE), model, torch.randn(2, *SIZE)
    )


@pytest.mark.parametrize("part", ["one", "norm", ""])
def test_weights_without_numbers_are_named(dense, part):
    dense.get_submodule(part).to("meta")
    message = refused(dense)
    assert f"has weights without values, on the meta device ({part or 'one'}.weight, " in message
    assert "to_empty" in message


def prepared(kind):
    from torch.ao import quantization

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = Plain().eval()
        if kind == "dynamic":
            return quantization.quantize_dynamic(model)
        model.qconfig = quantization.get_default_qat_qconfig("x86" if kind == "qat" else "fbgemm")
        if kind == "qat":
            return quantization.prepare_qat(model.train())
        model.qconfig = quantization.get_default_qconfig("x86")
        model = quantization.prepare(model)
        return quantization.convert(model) if kind == "converted" else model


@pytest.mark.filterwarnings(
    "ignore"
)  # PyTorch's own, about its quantisation and about observers that saw nothing
@pytest.mark.parametrize(
    ("kind", "named"),
    [("qat", "one"), ("static", "one.activation"), ("converted", "one"), ("dynamic", "head")],
)
def test_quantised_and_prepared_networks_are_refused_by_name(kind, named):
    message = refused(prepared(kind))
    assert f"is quantised, or prepared for quantisation ({named}" in message
    assert "quantise the slim one" in message


# Types


@pytest.mark.parametrize("rewrite", [False, True])
@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float64])
def test_a_network_of_another_type_is_pruned_and_keeps_it(dense, kind, rewrite):
    dense = dense.to(kind)
    result = slimmer.prune(dense, flops=0.5, input_size=SIZE, rewrite=rewrite)
    assert {parameter.dtype for parameter in result.model.parameters()} == {kind}
    assert_slim_is_masked(result, dense, torch.randn(2, *SIZE))


@pytest.mark.parametrize("kind", [torch.float16, torch.float64])
def test_with_float32_images_it_is_refused_and_says_so(dense, kind):
    message = refused(dense.to(kind), data=data(), input_size=None, epochs=0)
    assert (
        f"its weights are {str(kind)[6:]}, but images are float32\n  convert it, model.float()"
        in message
    )


class Casting(Plain):
    def forward(self, x):
        return super().forward(x.to(self.head.weight.dtype)).float()


def test_one_that_casts_its_images_itself_is_taken():
    torch.manual_seed(0)
    result = slimmer.prune(Casting().double(), data(), flops=0.5, epochs=1, **{"data.trust": True})
    assert result.model.head.weight.dtype == torch.float64
    assert result.report["flops"]["ratio"] <= 0.5


@pytest.mark.parametrize("kind", [torch.float64, torch.bfloat16])
def test_the_default_type_does_not_matter(dense, kind):
    images = data()
    wanted = slimmer.prune(dense, images, flops=0.5, epochs=1, **{"data.trust": True})
    torch.set_default_dtype(kind)
    try:
        found = slimmer.prune(dense, images, flops=0.5, epochs=1, **{"data.trust": True})
        own = slimmer.prune(Plain(), flops=0.5, input_size=SIZE)
    finally:
        torch.set_default_dtype(torch.float32)
    assert found.plan == wanted.plan
    assert own.model.head.weight.dtype == kind
    for name, tensor in wanted.model.state_dict().items():
        assert torch.equal(found.model.state_dict()[name], tensor), name


class Waves(Plain):
    """A filter of complex numbers; as the module's own parameter it is the first of them."""

    def __init__(self):
        super().__init__()
        self.filter = nn.Parameter(torch.randn(16, dtype=torch.complex64))

    def forward(self, x):
        x = torch.fft.ifft2(
            torch.fft.fft2(self.norm(self.one(x))) * self.filter[None, :, None, None]
        ).real
        return self.head(self.three(self.two(x).relu()).mean((2, 3)))


def test_complex_weights_beside_real_ones():
    torch.manual_seed(0)
    model = Waves().eval()
    assert next(model.parameters()).is_complex()
    result = slimmer.prune(model, flops=0.5, input_size=SIZE)
    assert result.model.filter.is_complex()
    image = torch.randn(2, *SIZE)
    with torch.no_grad():
        mask_(model, result.plan)
        torch.testing.assert_close(result.model(image), model(image), rtol=1e-4, atol=1e-5)


def test_complex_convolutions():
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 16, 3, dtype=torch.complex64), nn.Conv2d(16, 4, 3, dtype=torch.complex64)
    )
    result = slimmer.prune(model, flops=0.5, input_size=SIZE)
    image = torch.randn(2, *SIZE, dtype=torch.complex64)
    with torch.no_grad():
        mask_(model, result.plan)
        torch.testing.assert_close(result.model(image), model(image), rtol=1e-4, atol=1e-5)
    assert result.model[0].weight.shape == (8, 3, 3, 3)


# Where it is called


CONTEXTS = (
    torch.no_grad,
    torch.inference_mode,
    lambda: torch.autocast("cpu", dtype=torch.bfloat16),
)


@pytest.mark.parametrize("inside", CONTEXTS)
def test_it_trains_the_same_whatever_stands_around_the_call(dense, inside):
    settings = {"flops": 0.5, "epochs": 1, "data.trust": True}
    wanted = slimmer.prune(dense, data(), **settings)
    with inside():
        found = slimmer.prune(dense, data(), **settings)
    assert found.plan == wanted.plan
    for name, tensor in wanted.model.state_dict().items():
        assert torch.equal(found.model.state_dict()[name], tensor), name
    assert all(
        parameter.requires_grad and not parameter.is_inference()
        for parameter in found.model.parameters()
    )


def test_networks_and_data_made_in_inference_mode_are_trained():
    with torch.inference_mode():
        model, given = Plain(), data()
        result = slimmer.prune(model, given, flops=0.5, epochs=1, **{"data.trust": True})
    assert result.report["flops"]["ratio"] <= 0.5


def test_the_random_state_of_whoever_calls_is_left_alone(tmp_path, dense):
    dense.example_inputs = torch.randn(1, *SIZE)

    def states():
        return torch.get_rng_state().tolist(), random.getstate(), np.random.get_state()[1].tolist()  # noqa: NPY002

    before = states()
    run = slimmer.prune(
        dense, data(), flops=0.5, epochs=1, out=tmp_path / "run", **{"data.trust": True}
    ).run
    slimmer.inspect(dense, rewrite=True)
    slimmer.load(run, model=dense)
    slimmer.export(run, data(), model=dense)
    with contextlib.suppress(SlimmerError):
        slimmer.prune(dense, flops=1e-9)
    assert states() == before


# Inputs and outputs


class OneImage(Plain):
    def __init__(self):
        super().__init__()
        self.example_inputs = torch.randn(1, *SIZE)


class OneImageAlone(OneImage):
    """Of two images it gives one answer."""

    def forward(self, x):
        return super().forward(x).sum(0, keepdim=True)


def test_an_example_of_one_image_is_rewritten_and_the_slim_network_takes_any_number():
    torch.manual_seed(0)
    model = OneImage().eval()
    result = slimmer.prune(model, flops=0.5, rewrite=True)
    assert_slim_is_masked(result, model, torch.randn(5, *SIZE))


@pytest.mark.parametrize("shape", [(1, 24), (1, 24, 1, 1)])
def test_one_image_that_a_norm_of_training_refuses_is_rewritten_too(shape):
    class Normed(OneImage):
        def __init__(self):
            super().__init__()
            self.last = (nn.BatchNorm1d if len(shape) == 2 else nn.BatchNorm2d)(24)

        def forward(self, x):
            x = self.three(self.two(self.norm(self.one(x)).relu()).relu()).mean((2, 3))
            return self.head(self.last(x.view(-1, *shape[1:])).flatten(1))

    torch.manual_seed(0)
    model = Normed().eval()
    assert_slim_is_masked(
        slimmer.prune(model, flops=0.5, rewrite=True), model, torch.randn(3, *SIZE)
    )


def test_where_two_images_are_something_else_than_one_twice_the_example_stays():
    from slimmer.graph import several_images

    for kind, images in ((OneImage, 2), (OneImageAlone, 1)):
        model = kind()
        assert len(several_images(model, (model.example_inputs,))[0]) == images
    two = torch.zeros(2, *SIZE)
    assert several_images(Plain(), (two,))[0] is two


@dataclass
class Answer:
    scores: Tensor


class Answering(Plain):
    def forward(self, x):
        return Answer(super().forward(x))


def test_an_answer_of_a_class_that_pytorch_does_not_know_says_how_to_make_it_known():
    message = refused(Answering())
    assert (
        "call torch.export.register_dataclass(Answer) first, or let forward return a tuple or a "
        "dict" in message
    )


class Named(Plain):
    def forward(self, *, image):
        return super().forward(image)


def test_an_input_by_name_alone_is_refused_with_what_to_do():
    model = Named()
    assert "wrap it in a module" in refused(model)
    model.example_inputs = {"image": torch.zeros(2, *SIZE)}
    assert "takes 'image' as keyword-only arguments" in refused(model)


# What helps


def spectral_old(model):
    for name in ("one", "two", "three"):
        nn.utils.spectral_norm(model.get_submodule(name))
    return model.eval()


def spectral_new(model):
    for name in ("one", "two", "three"):
        new_spectral_norm(model.get_submodule(name))
    return model.eval()


@pytest.mark.parametrize("rewrite", [False, True])
@pytest.mark.parametrize("norm", [spectral_old, spectral_new])
def test_spectral_norm_is_refused_by_name_and_its_advice_holds(norm, rewrite):
    torch.manual_seed(0)
    model = norm(Plain())
    message = refused(model, rewrite=rewrite)
    assert "under spectral normalisation" in message
    assert "--rewrite" not in message
    line = message.split("change the outputs: ")[1].split(", and the same")[0]
    image = torch.randn(2, *SIZE)
    before = model(image)
    for name in ("one", "two", "three"):
        exec(line.replace("model.one", f"model.{name}"), {"torch": torch, "model": model})
    torch.testing.assert_close(model(image), before)
    assert_slim_is_masked(
        slimmer.prune(model, flops=0.5, input_size=SIZE, rewrite=rewrite), model, image
    )


def test_where_spectral_norm_keeps_a_budget_from_being_met_it_is_named():
    model = Plain()
    nn.utils.spectral_norm(model.two)
    assert "two are under spectral normalisation" in refused(model, flops=0.3)


def masks(model):
    for name in ("one", "two", "three", "head"):
        pruned.l1_unstructured(model.get_submodule(name), "weight", 0.3)
    return model


class Blurred(nn.Module):
    """A blur whose number of groups is the code's."""

    def __init__(self):
        super().__init__()
        self.c = 16
        self.one = nn.Conv2d(3, 16, 3, padding=1)
        self.register_buffer("kernel", torch.ones(16, 1, 3, 3) / 9)
        self.head = nn.Linear(16, 5)

    def forward(self, x):
        x = functional.conv2d(self.one(x).relu(), self.kernel, stride=2, groups=self.c)
        return self.head(x.mean((2, 3)))


class Recurrent(nn.Module):
    """A convolutional LSTM whose gates are split by a number that the module holds."""

    def __init__(self):
        super().__init__()
        self.hidden = 16
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.gates = nn.Conv2d(24, 64, 3, padding=1)
        self.head = nn.Conv2d(16, 5, 1)

    def forward(self, x):
        h = c = x.new_zeros(x.shape[0], self.hidden, *x.shape[2:])
        x = self.stem(x).relu()
        for _ in range(2):
            i, f, o, g = torch.split(self.gates(torch.cat([x, h], 1)), self.hidden, 1)
            c = f.sigmoid() * c + i.sigmoid() * g.tanh()
            h = o.sigmoid() * c.tanh()
        return self.head(h)


@pytest.mark.parametrize(
    ("make", "kind"),
    [(lambda: masks(Plain()), ModelError), (Blurred, ModelError), (Recurrent, BudgetError)],
)
def test_rewrite_is_named_where_it_helps_and_then_it_does(make, kind):
    torch.manual_seed(0)
    model = make().eval()
    with pytest.raises(kind, match=r"with --rewrite \(in Python rewrite=True\)"):
        slimmer.prune(model, flops=0.5, input_size=SIZE)
    slim = slimmer.prune(model, flops=0.5, input_size=SIZE, rewrite=True).model
    counts = []
    for network in (model, slim):
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            network(torch.zeros(1, *SIZE))
        counts.append(counter.get_total_flops())
    assert counts[1] <= 0.51 * counts[0]


def test_rewrite_is_not_named_where_it_does_not_help():
    model = nn.Sequential(nn.Conv2d(3, 4, 3))
    message = refused(model)
    assert "no channel of the network can be pruned" in message
    assert "--rewrite" not in message


# What is no network, and networks that can't be trained


@pytest.mark.parametrize(
    ("given", "found"),
    [(Plain, "is a class, Plain"), (Plain().state_dict(), "is a OrderedDict"), (None, "NoneType")],
)
def test_what_is_no_network_is_named(given, found):
    for call in (slimmer.prune, slimmer.inspect):
        settings = {"flops": 0.5} if call is slimmer.prune else {}
        with pytest.raises(ModelError, match=f"model: .*{found}\n  give a network"):
            call(given, input_size=SIZE, **settings)


def test_sparse_weights_and_weights_that_are_no_numbers_are_named(dense):
    broken = copy.deepcopy(dense)
    broken.two.weight.data[0, 0] = float("nan")
    assert "has weights that are NaN (two.weight)" in refused(broken)
    dense.two.weight = nn.Parameter(dense.two.weight.detach().to_sparse())
    assert "has sparse weights (two.weight)" in refused(dense)


class Ungraded(Plain):
    @torch.no_grad()
    def forward(self, x):
        return super().forward(x)


def test_a_frozen_network_is_not_trained_and_says_so_and_its_channels_go_all_the_same():
    torch.manual_seed(0)
    model = Plain().requires_grad_(requires_grad=False)
    trust = {"data.trust": True}
    assert "but all of its parameters are frozen" in refused(
        model, data=data(), input_size=None, epochs=1, **trust
    )
    result = slimmer.prune(model, data(), flops=0.5, epochs=0, **trust)
    assert result.report["flops"]["ratio"] <= 0.5


def test_a_network_without_gradients_says_so_and_is_pruned_without_data():
    torch.manual_seed(0)
    model = Ungraded()
    assert "its forward records no gradients" in refused(
        model, data=data(), input_size=None, epochs=0
    )
    assert_slim_is_masked(
        slimmer.prune(model, flops=0.5, input_size=SIZE), model, torch.randn(2, *SIZE)
    )


@pytest.mark.parametrize("rewrite", [False, True])
def test_an_answer_of_a_registered_dataclass_is_compared_and_keeps_its_class(rewrite):
    torch.manual_seed(0)
    model = KnownAnswer().eval()
    result = slimmer.prune(model, flops=0.5, input_size=SIZE, rewrite=rewrite)
    image = torch.randn(2, *SIZE)
    with torch.no_grad():
        mask_(model, result.plan)
        answer = copy.deepcopy(result.model)(image)
        torch.testing.assert_close(answer.scores, model(image).scores, rtol=1e-4, atol=1e-5)
    assert type(answer) is Known


class Box:
    """An answer that PyTorch is told to open, and that is no dataclass."""

    def __init__(self, scores):
        self.scores = scores


class BoxAnswer(Plain):
    def forward(self, x):
        return Box(super().forward(x))


def test_an_answer_of_a_class_that_a_program_cannot_make_is_not_rewritten():
    torch.utils._pytree.register_pytree_node(
        Box, lambda box: ([box.scores], None), lambda held, _: Box(*held)
    )
    model = BoxAnswer().eval()
    assert slimmer.prune(model, flops=0.5, input_size=SIZE).report["flops"]["ratio"] <= 0.5
    assert "its output contains a Box, which a program can't construct" in refused(
        model, rewrite=True
    )
    wrong = KnownAnswer()
    wrong.counted = True
    assert "no channel of the network can be pruned" in refused(wrong)


@dataclass
class Known:
    scores: Tensor


torch.export.register_dataclass(Known)


class KnownAnswer(Plain):
    """Where it is `counted`, its answer depends on numbers of channels that no label shows."""

    counted = False

    def forward(self, x):
        count = len(self.one.weight) * len(self.two.weight) * len(self.three.weight)
        return Known(super().forward(x) * (count if self.counted else 1))


def test_the_default_device_does_not_matter(dense):
    torch.set_default_device("meta")
    try:
        result = slimmer.prune(dense, flops=0.5, input_size=SIZE)
    finally:
        torch.set_default_device(None)
    assert_slim_is_masked(result, dense, torch.randn(2, *SIZE))
