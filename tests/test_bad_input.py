"""Whatever a user gets wrong: one clear message, exit code 2, nothing half written, nothing
lost.
"""

import errno
import os
import pickle
import re
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from main_job import ARCH, PYTHON, slimmer, tree
from PIL import Image

import slimmer as package
from slimmer import demo
from slimmer.data import Data, InMemory
from slimmer.errors import DataError
from slimmer.models import build
from slimmer.models.checkpoint import read_weights, save_weights
from slimmer.pipeline import profile_runs as run_profile
from slimmer.pipeline import stages as pipeline
from slimmer.recipe import read_recipe

SIZE = ("--set", "model.input_size=[1,16,16]")


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """Every test works in a folder of its own, with a file in it that must not change."""
    monkeypatch.chdir(tmp_path)
    Path("precious.txt").write_text("mine")
    return tmp_path


def refused(*arguments, code=2):
    """What stderr says; the command ends with `code`, says one thing, and leaves the folder as it
    was.
    """
    before = tree(".")
    result = slimmer(*arguments)
    assert result.exit_code == code, result.output
    assert not result.stdout
    assert len(re.findall("^Error: ", result.stderr, re.MULTILINE)) == (code == 2)
    assert "Traceback" not in result.output
    assert tree(".") == before
    return result.stderr


# Checkpoints


class Hostile:
    """Unpickled, it would make a directory."""

    def __reduce__(self):
        return os.mkdir, ("harmed",)


def missing():
    return "does not exist"


def a_directory():
    Path("net.pth").mkdir()
    return "directory"


def empty():
    Path("net.pth").touch()
    return "empty"


def text():
    Path("net.pth").write_text("these are no weights\n" * 100)
    return "not a checkpoint"


def truncated():
    torch.save(build(ARCH, in_channels=1).state_dict(), "net.pth")
    content = Path("net.pth").read_bytes()
    Path("net.pth").write_bytes(content[: len(content) // 2])
    return "truncated or damaged"


def hostile():
    Path("net.pth").write_bytes(pickle.dumps({"state_dict": {"conv1.weight": Hostile()}}))
    return "does not load it"


def hostile_zip():
    torch.save({"state_dict": {"conv1.weight": Hostile()}}, "net.pth")
    return "does not load it"


def not_a_number():
    weights = build(ARCH, in_channels=1).state_dict()
    weights["layer2.0.conv1.weight"][0, 0, 0, 0] = float("nan")
    torch.save(weights, "net.pth")
    return "layer2.0.conv1.weight"


def of_nothing_known():
    torch.save({"a.weight": torch.zeros(3, 3), "b.weight": torch.zeros(2)}, "net.pth")
    return "nearest is"


BAD_CHECKPOINTS = (
    missing,
    a_directory,
    empty,
    text,
    truncated,
    hostile,
    hostile_zip,
    not_a_number,
    of_nothing_known,
)


@pytest.mark.parametrize("make", BAD_CHECKPOINTS)
@pytest.mark.parametrize("command", ["prune", "inspect"])
def test_a_bad_checkpoint(make, command):
    said = make()
    message = refused(command, "net.pth", *(("--flops", "0.5") if command == "prune" else ()))
    assert said in message
    assert "net.pth" in message
    assert not Path("harmed").exists()


def test_the_wrong_architecture_is_said_key_by_key(checkpoint):
    message = refused("prune", checkpoint, "--arch", "cifar_resnet14", "--flops", "0.5")
    assert "layer1.1.conv1.weight" in message
    assert ARCH in message


def test_an_unknown_architecture_gets_the_nearest_name(checkpoint):
    assert "did you mean 'resnet34'" in refused("inspect", checkpoint, "--arch", "resnet34x")


def test_no_checkpoint_is_named():
    assert "give a file of weights" in refused("prune", "--flops", "0.5")


# Data


def pictures(split, *names):
    for name in names:
        Path("pictures", split, name).mkdir(parents=True)
        for number in range(2):
            Image.new("L", (16, 16), number).save(Path("pictures", split, name, f"{number}.png"))


def no_such_folder():
    return "does not exist"


def an_empty_folder():
    Path("pictures").mkdir()
    return "it is empty"


def other_classes_in_the_test_split():
    pictures("train", "cat", "dog")
    pictures("test", "cat", "dgo")
    return "dgo"


def a_class_without_images():
    pictures("train", "cat", "dog")
    pictures("test", "cat", "dog")
    for file in Path("pictures/train/dog").iterdir():
        file.unlink()
    return "dog"


def a_file_that_is_no_image():
    pictures("train", *"abcdefghij")
    pictures("test", *"abcdefghij")
    Path("pictures/test/b/0.png").write_text("no picture")
    return "pictures/test/b/0.png"


def fewer_classes_than_the_network():
    pictures("train", "cat", "dog")
    pictures("test", "cat", "dog")
    return "2 classes, but the network has 10 outputs"


BAD_FOLDERS = (
    no_such_folder,
    an_empty_folder,
    other_classes_in_the_test_split,
    a_class_without_images,
    a_file_that_is_no_image,
    fewer_classes_than_the_network,
)


@pytest.mark.parametrize("make", BAD_FOLDERS)
def test_a_bad_folder_of_images(make, checkpoint):
    said = make()
    grey = "--set", "data.mean=[0.5]", "--set", "data.std=[0.5]", "--set", "data.size=16"
    assert said in refused("prune", checkpoint, "--flops", "0.5", "--data", "pictures", *grey)


def test_a_network_near_chance_is_not_trained():
    torch.manual_seed(0)
    save_weights(Path("net.safetensors"), build(ARCH, in_channels=1), {})
    before = tree(".")
    result = slimmer("prune", "net.safetensors", "--flops", "0.5", "--data", "digits")
    assert result.exit_code == 2
    for part in ("chance is 10.0%", "data.mean", "data.classes", "architecture", "data.trust=true"):
        assert part in result.stderr
    assert tree(".") == before


# Budgets and settings


@pytest.mark.parametrize(
    ("amount", "said"),
    [
        ("0", "is not above 0"),
        ("0%", "is not above 0"),
        ("-0.5", "is not above 0"),
        ("1.5", "too large for a ratio"),
        ("150%", "more than 100 %"),
        ("half", "not a valid amount"),
        ("nan", "not a valid amount"),
    ],
)
@pytest.mark.parametrize("option", ["--flops", "--params"])
def test_a_bad_budget(option, amount, said, checkpoint):
    message = refused("prune", checkpoint, option, amount)
    assert said in message
    assert f"budget.{option[2:]}" in message
    assert "the amount that may remain" in message


def test_no_budget(checkpoint):
    assert "--flops 0.5" in refused("prune", checkpoint)


def test_a_pair_that_cannot_be_met_is_refused_with_both_ranges(checkpoint):
    message = refused("prune", checkpoint, "--flops", "0.5", "--params", "0.001", *SIZE)
    assert "can't be met" in message
    assert "flops" in message.partition("reachable:")[2]
    assert "params" in message.partition("reachable:")[2]
    assert "to 75,002" in message


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        (["--round-to", "64"], "budget.round_to=64"),
        (["--set", "budget.min_width=1000"], "budget.min_width=1000"),
        (["--set", "budget.max_sparsity={layer3: 0.1}"], "budget.max_sparsity={'layer3': 0.1}"),
        (["--only", "layer1", "--keep", "conv1"], "model.keep=['conv1'], model.only=['layer1']"),
    ],
)
def test_a_budget_out_of_reach_names_the_settings_that_hold_it(settings, named, checkpoint):
    message = refused("prune", checkpoint, "--flops", "0.2", *SIZE, *settings)
    assert "can't be met" in message
    assert message.rstrip().endswith(f"with {named}")


def test_a_network_of_which_nothing_may_go_is_refused_although_the_budget_is_all_of_it(checkpoint):
    message = refused("prune", checkpoint, "--flops", "1.0", "--keep", "*", *SIZE)
    assert "no channel of the network can be pruned with model.keep=['*']" in message


@pytest.mark.parametrize(
    ("setting", "found"),
    [
        ("budget.min_width={layer3:4}", "{'layer3:4': None}"),  # no space behind the colon
        ("budget.max_sparsity={layer3: 50%}", "{'layer3': '50%'}"),
    ],
)
def test_a_bad_mapping_is_shown_as_it_was_read(setting, found, checkpoint):
    assert f"(found {found})" in refused("prune", checkpoint, "--flops", "0.5", "--set", setting)


@pytest.mark.parametrize("setting", ["nothing", "=3", "finetune.lr=[", "finetune.lr.more=3"])
def test_a_bad_setting(setting, checkpoint):
    refused("prune", checkpoint, "--flops", "0.5", "--set", "finetune.lr=0.1", "--set", setting)


@pytest.mark.parametrize("value", ["0", "-1", "1.5", "many"])
def test_a_bad_number_of_views(value, checkpoint):
    found = refused("prune", checkpoint, "--flops", "0.5", "--set", f"data.views={value}")
    assert "data.views: Input should be" in found


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (
            ["method.name=bar", "method.lambda_m=[3]"],
            "bar has no such option; it belongs to maskconvnet",
        ),
        (["method.name=network_slimming", "method.strength=-1"], "greater than or equal to 0"),
        (
            ["method.name=maskconvnet", "method.lambda_m=[-1]"],
            "lambda_m.0: Input should be greater",
        ),
        (
            ["method.name=maskconvnet", "method.lambda_v=[1, 2]"],
            "lambda_v is [1.0, 2.0], but the number of budgets is 1",
        ),
        (
            ["method.name=maskconvnet", "method.warmup=5"],
            "warmup is 5 epochs, but only 0.5 are under masks",
        ),
        (["method.name=maskconvnet", "method.warmup=0.9"], "the masks never move"),
        (["method.name=bar", "method.sparsify=0"], "method.sparsify"),
        (["method.name=bar", "method.settle=0"], "settle: Input should be greater than 0"),
        (["method.name=bar", "method.settle=often"], "settle: Input should be a valid number"),
        (
            ["method.name=maskconvnet", "method.settle=0.25"],
            "settle is 0.25 epochs, and a mask has settled after two of them, but only 0.5",
        ),
        (
            ["method.name=taylor", "method.settle=0.1"],
            "taylor has no such option; it belongs to maskconvnet, network_slimming, bar",
        ),
        (
            ["method.name=network_slimming", "method.settle=0.1", "method.ratio=0.4"],
            "method.ratio replaces the budget; leave out one of them",
        ),
        (["method.search=-1"], "search: Input should be greater than or equal to 0"),
        (["method.search=5", "method.sparsify=0.5"], "method.sparsify to 0"),
        (["method.search=5", "budget.latency=0.5"], "give --flops or --params, not a latency"),
        (["method.search=5", "budget.depth=true"], "budget.depth removes whole branches first"),
        (["method.name=bar", "method.search=5"], "bar has no such option"),
        (["method.name=bar", "finetune.epochs=0"], "nothing would be learnt"),
        (["method.name=l1", "method.ratios={layer9: 0.5}"], "method.ratios"),
    ],
)
def test_a_methods_option_that_it_has_not_or_that_does_not_fit(settings, said, checkpoint):
    chosen = [part for setting in ["finetune.epochs=1", *settings] for part in ("--set", setting)]
    told = refused(
        "prune", checkpoint, "--flops", "0.5", "--data", "digits", "--set", "data.size=16", *chosen
    )
    assert said in told


@pytest.mark.parametrize("content", [None, "seed: [", "- a list", "\x00", "seed: 1\nsaad: 2"])
def test_a_bad_recipe(content, checkpoint):
    if content is not None:
        Path("recipe.yaml").write_text(content)
    assert "recipe.yaml" in refused(
        "prune", checkpoint, "--flops", "0.5", "--recipe", "recipe.yaml"
    )


# Devices and providers


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
def test_cuda_is_asked_for_and_absent(checkpoint):
    message = refused("prune", checkpoint, "--flops", "0.5", "--device", "cuda")
    assert "PyTorch finds no GPU" in message


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
@pytest.mark.parametrize("provider", ["cuda", "tensorrt"])
def test_the_cpu_is_never_timed_in_place_of_a_gpu(provider, main_job):
    before = main_job.run.profile.read_bytes()
    for target in (main_job.run.path, main_job.run.onnx("slim")):
        result = slimmer("profile", target, "--provider", provider, "--batch", "1")
        assert result.exit_code == 2
        assert f"\nError: provider {provider}: " in result.stderr
        assert not result.stdout
    assert main_job.run.profile.read_bytes() == before


def test_an_unknown_provider(main_job):
    assert "'tpu'" in refused("profile", main_job.run.path, "--provider", "tpu")
    message = refused("profile", main_job.run.path, "--provider", "TpuExecutionProvider")
    assert "'TpuExecutionProvider' is not known" in message


def test_an_option_that_the_provider_does_not_have(main_job):
    assert "no such option for it: use_tf32" in refused("profile", main_job.run.path, "--no-tf32")
    assert "enable_cuda_graph" in refused("profile", main_job.run.path, "--cuda-graph")


def test_a_runtime_that_is_none_or_has_no_network(main_job):
    assert "profile.runtimes" in refused("profile", main_job.run.path, "--runtime", "tensorflow")
    assert "is not a PyTorch network" in refused(
        "profile", main_job.run.onnx("slim"), "--runtime", "torch"
    )


@pytest.mark.parametrize("batch", ["0", "-1", "1,,2", "many", "1,1"])
def test_bad_batches(batch, main_job):
    refused("profile", main_job.run.path, "--batch", batch)


def test_an_opset_that_is_too_old(main_job, tmp_path):
    before = tree(main_job.run.path)
    result = slimmer("export", main_job.run.path, "--opset", "9")
    assert result.exit_code == 2
    assert "too old" in result.stderr
    assert tree(main_job.run.path) == before


# Runs


@pytest.mark.parametrize("command", ["export", "profile", "prune --resume"])
def test_a_run_that_is_none(command):
    Path("folder").mkdir()
    assert "is not a run" in refused(*command.split(), "folder")
    assert "does not exist" in refused(*command.split(), "nowhere")
    assert "precious.txt" in refused(*command.split(), "precious.txt")


@pytest.mark.parametrize("command", ["export", "profile"])
def test_no_run_yet(command):
    assert "there is no run here yet" in refused(command)


@pytest.mark.parametrize("command", ["export", "profile"])
def test_a_run_that_is_not_finished(command, main_job):
    Path("run").mkdir()
    for name in ("recipe.yaml", "dense.safetensors", "dense.json"):
        Path("run", name).write_bytes((main_job.run.path / name).read_bytes())
    assert "slimmer prune --resume run" in refused(command, "run")


def test_a_damaged_report(main_job):
    Path("run").mkdir()
    for name in ("recipe.yaml", "dense.safetensors", "slim.safetensors"):
        Path("run", name).write_bytes((main_job.run.path / name).read_bytes())
    Path("run/report.json").write_text("{")
    assert "report.json" in refused("export", "run")
    assert "report.json" in refused("prune", "--resume", "run")


def test_an_out_that_is_a_run_already(main_job, checkpoint):
    before = tree(main_job.run.path)
    message = refused("prune", checkpoint, "--flops", "0.5", "--out", main_job.run.path, *SIZE)
    assert f"--resume {main_job.run.path}" in message
    assert tree(main_job.run.path) == before


def test_an_out_that_holds_something_else(checkpoint):
    Path("thesis").mkdir()
    Path("thesis/chapter.tex").write_text("1")
    assert "choose another --out" in refused(
        "prune", checkpoint, "--flops", "0.5", "--out", "thesis", *SIZE
    )
    assert "choose another --out" in refused(
        "prune", checkpoint, "--flops", "0.5", "--out", "precious.txt", *SIZE
    )


def test_several_targets_that_are_not_all_files(main_job):
    assert "give either runs or ONNX files" in refused(
        "profile", main_job.run.path, main_job.run.onnx("slim")
    )


def test_a_target_that_is_named_twice(main_job):
    assert "is given twice" in refused("profile", main_job.run.path, main_job.run.path)


def test_a_wrong_option_is_not_called_a_mistake_of_the_runs_own_recipe(main_job):
    message = refused("profile", main_job.run.path, "--runtime", "tensorflow")
    assert "recipe.yaml, overridden by settings: one error" in message


def test_more_than_the_memory_holds(main_job, monkeypatch):
    def profile_targets(*_, **__):
        raise MemoryError("Unable to allocate 95.4 GiB")

    monkeypatch.setattr(run_profile, "profile_targets", profile_targets)
    message = refused("profile", main_job.run.path, "--batch", "100000000")
    assert "Unable to allocate 95.4 GiB" in message
    assert "use smaller batches" in message


def test_an_image_that_no_memory_holds_is_one_message(checkpoint):
    message = refused("inspect", checkpoint, "--input-size", "1,100000000,100000000")
    assert "memory: " in message
    assert "use smaller batches or images" in message


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError(
            "[enforce fail at alloc_cpu.cpp:118] err == 0. DefaultCPUAllocator: can't allocate "
            "memory: you"
        ),
        RuntimeError("CUDA error: out of memory"),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB"),
        ImportError("libtorch_cpu.so: failed to map segment from shared object"),
        OSError(errno.ENOMEM, "Cannot allocate memory"),
    ],
)
def test_out_of_memory_is_one_message_whoever_says_it(error, main_job, monkeypatch):
    def profile_targets(*_, **__):
        raise error

    monkeypatch.setattr(run_profile, "profile_targets", profile_targets)
    assert "Error: memory: " in refused("profile", main_job.run.path)


def test_other_errors_of_the_machines_libraries_keep_their_traceback(main_job, monkeypatch):
    def profile_targets(*_, **__):
        raise RuntimeError("a bug")

    monkeypatch.setattr(run_profile, "profile_targets", profile_targets)
    assert isinstance(slimmer("profile", main_job.run.path).exception, RuntimeError)


def test_the_demo_replaces_no_file_but_its_own(monkeypatch):
    monkeypatch.setattr(demo, "train_", lambda *_, **__: None)
    monkeypatch.setattr(demo, "evaluate", lambda *_: {"top-1": 0.5})
    save_weights(Path("mine.safetensors"), {"a": torch.zeros(1)}, {})
    before = tree(".")
    assert demo.main(["mine.safetensors"]) == 2
    assert tree(".") == before
    assert [demo.main(["demo.safetensors"]) for _ in range(2)] == [0, 0]


def test_a_comparison_replaces_no_files_but_its_own(main_job):
    Path("docs").mkdir()
    Path("docs/compare.md").write_text("mine")
    message = refused("compare", main_job.run.path, "--out", "docs")
    assert "docs/compare.md: exists, and slimmer's comparison did not write it" in message
    for _ in range(2):
        assert slimmer("compare", main_job.run.path, "--out", "table").exit_code == 0


def test_masks_as_labels_in_data_from_python_are_refused():
    split = InMemory(torch.zeros(4, 1, 16, 16), torch.zeros(4, 16, 16, dtype=torch.int64))
    data = Data("masks", split, split, tuple("0123456789"), (0.5,), (0.5,), (16, 16))
    for call in (
        lambda: package.prune(build(ARCH, in_channels=1), data, flops=0.5),
        lambda: start_with(data),
    ):
        with pytest.raises(DataError, match=r"labels are torch.int64 of shape \(4, 16, 16\)"):
            call()


def start_with(data):
    recipe = read_recipe(None, [("budget.flops", 0.5)])
    return pipeline.start(recipe, Path("out"), model=build(ARCH, in_channels=1), data=data)


def test_onnx_files_that_are_none(main_job):
    Path("text.onnx").write_text("nothing")
    assert "text.onnx" in refused("profile", "text.onnx")
    assert "gone.onnx" in refused("profile", main_job.run.onnx("slim"), "gone.onnx")


# A full disk


@pytest.fixture
def full(monkeypatch):
    """`full("plan.json")`: from now on there is no room for that file; `full(None)`: there is room
    again.
    """
    put = Path.replace

    def fill(name):
        def replace(self, target):
            if Path(target).name == name:
                raise OSError(errno.ENOSPC, "No space left on device", str(target))
            return put(self, target)

        monkeypatch.setattr(Path, "replace", replace)

    return fill


@pytest.mark.parametrize("name", ["dense.safetensors", "recipe.yaml", "latest"])
def test_the_disk_is_full_when_a_run_begins(full, name, checkpoint):
    full(name)
    result = slimmer("prune", checkpoint, "--flops", "0.5", *SIZE)
    assert result.exit_code == 2
    assert "No space left on device" in result.stderr
    assert "Traceback" not in result.output
    assert [path for path in Path().rglob("*") if path.is_file()] == [Path("precious.txt")]


@pytest.mark.parametrize("name", ["plan.json", "slim.safetensors", "report.json"])
def test_the_disk_is_full_later_and_the_run_goes_on(full, name, checkpoint):
    full(name)
    result = slimmer("prune", checkpoint, "--flops", "0.5", "--out", "run", *SIZE)
    assert result.exit_code == 2
    assert "No space left on device; to resume, use `slimmer prune --resume run`" in result.stderr
    assert not Path("run", name).exists()
    assert not [path for path in Path("run").iterdir() if path.suffix == ".part"]
    full(None)
    resumed = slimmer("prune", "--resume", "run")
    assert resumed.exit_code == 0, resumed.output
    assert Path("run", name).is_file()
    assert read_weights(Path("run/slim.safetensors"))


def test_a_file_system_that_takes_no_more(checkpoint):
    """The system's own refusal, in a process that may write no file above 64 KiB."""
    result = subprocess.run(
        [sys.executable, "-m", "slimmer", "prune", checkpoint, "--flops", "0.5", *SIZE],
        env=PYTHON,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (65536, 65536)),
    )
    assert result.returncode == 2, result.stderr
    assert (
        result.stderr.splitlines()[-1] == f"Error: runs/{ARCH}-1/dense.safetensors: File too large"
    )
    assert [path for path in Path().rglob("*") if path.is_file()] == [Path("precious.txt")]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_result_that_can_not_be_written_down(checkpoint):
    with Path("/dev/full").open("w") as full:
        result = subprocess.run(
            [sys.executable, "-m", "slimmer", "inspect", checkpoint, "--json"],
            env=PYTHON,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=120,
            check=False,
        )
    assert result.returncode == 2
    assert result.stderr == "Error: No space left on device\n"


def test_a_place_that_may_not_be_written(monkeypatch, checkpoint):
    def denied(self, *_, **__):
        raise PermissionError(errno.EACCES, "Permission denied", str(self))

    monkeypatch.setattr(Path, "mkdir", denied)
    assert (
        "Error: away: Permission denied"
        in slimmer("prune", checkpoint, "--flops", "0.5", "--out", "away", *SIZE).stderr
    )


# Ctrl-C


def test_ctrl_c_while_nothing_is_written_yet(monkeypatch, checkpoint):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(pipeline, "start", interrupted)
    assert refused("prune", checkpoint, "--flops", "0.5", code=130) == "loading PyTorch\nstopped\n"


def interruptible():
    """A process that was started in the background ignores Ctrl-C, and so would its children."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def test_ctrl_c_while_it_trains_and_the_run_goes_on(checkpoint):
    options = [
        "--flops",
        "0.5",
        "--data",
        "digits",
        "--epochs",
        "3",
        "--set",
        "finetune.save_every=0.1",
    ]
    process = subprocess.Popen(
        [sys.executable, "-m", "slimmer", "prune", checkpoint, "--out", "run", *options],
        env=PYTHON,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=interruptible,  # noqa: PLW1509 - no other thread is running
    )
    try:
        until = time.monotonic() + 60
        while time.monotonic() < until and '"epoch"' not in (
            Path("run/events.jsonl").read_text() if Path("run/events.jsonl").exists() else ""
        ):
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        stdout, stderr = process.communicate(timeout=30)
    finally:
        process.kill()
    assert process.returncode == 130, stderr
    assert stderr.splitlines()[-1] == "stopped; to resume, use `slimmer prune --resume run`"
    assert "Traceback" not in stderr
    assert not stdout
    assert not [path for path in Path("run").iterdir() if path.suffix == ".part"]
    plan = Path("run/plan.json").read_bytes()
    resumed = slimmer("prune", "--resume", "run")
    assert resumed.exit_code == 0, resumed.output
    assert Path("run/plan.json").read_bytes() == plan
    assert Path("run/report.json").is_file()
