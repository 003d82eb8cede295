"""Hostile and damaged checkpoints, in process: each is a network or one short message, soon and in
little memory.
"""

import io
import json
import os
import pickle
import random
import resource
import socket
import struct
import time
import warnings
import zipfile
from argparse import Namespace
from contextlib import chdir

import pytest
import torch
from main_job import slimmer as command
from safetensors.torch import save
from torch import nn

from slimmer.errors import CheckpointError, SlimmerError
from slimmer.models import build
from slimmer.models.checkpoint import read_weights
from slimmer.pipeline.sources import load_model
from slimmer.recipe.sections import ModelSection

SECONDS = 20  # a case takes a tenth of one; the machine may be busy
MEGABYTES = 700  # that all cases together may take more than the tests before them
LONGEST = 5000  # characters of a message


def weights(classes=4):
    torch.manual_seed(0)
    return build("cifar_resnet8", num_classes=classes, in_channels=1).state_dict()


def saved(value, **options):
    file = io.BytesIO()
    torch.save(value, file, **options)
    return file.getvalue()


FILES = {
    "zip.pth": saved({"state_dict": weights(), "args": Namespace(lr=1), "epoch": 3}),
    "old.pth": saved({"net": weights(), "acc": 0.5}, _use_new_zipfile_serialization=False),
    "net.safetensors": save(weights(), {"format": "pt"}),
    "own.safetensors": save(
        weights(),
        {
            "format": "slimmer-1",
            "arch": "cifar_resnet8",
            "num_classes": "4",
            "input_size": "[1, 32, 32]",
        },
    ),
}


def outcome(path, **section):
    """Nothing, or the message; whatever else happens is a failure of the test."""
    began = time.monotonic()
    try:
        load_model(ModelSection(checkpoint=str(path), **section))
        message = ""
    except SlimmerError as error:
        message = str(error)
    assert time.monotonic() - began < SECONDS
    assert len(message) < LONGEST
    assert all(each.isprintable() or each == "\n" for each in message), message
    message.encode()
    return message


@pytest.fixture(scope="module", autouse=True)
def _in_little_memory():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    yield
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024 < MEGABYTES


# Damage


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("how", ["flip", "cut", "zero", "swap", "grow"])
def test_damage_anywhere(tmp_path, name, how):
    """Twenty places for each kind of damage: in the head, the end and all over."""
    dice = random.Random(f"{name} {how}")
    content = FILES[name]
    for number in range(20):
        bytes_ = bytearray(content)
        near = [
            dice.randrange(200),
            len(content) - 1 - dice.randrange(800),
            dice.randrange(len(content)),
        ][number % 3]
        if how == "flip":
            bytes_[near] ^= 1 << dice.randrange(8)
        elif how == "cut":
            del bytes_[near:]
        elif how == "zero":
            bytes_[near : near + 16] = bytes(len(bytes_[near : near + 16]))
        elif how == "swap":
            other = dice.randrange(len(content) - 8)
            bytes_[near : near + 8], bytes_[other : other + 8] = (
                bytes_[other : other + 8],
                bytes_[near : near + 8],
            )
        else:
            bytes_[near:near] = dice.randbytes(dice.randrange(1, 40))
        (tmp_path / name).write_bytes(bytes_)
        outcome(tmp_path / name)


@pytest.mark.parametrize("opcode", [pickle.BINUNICODE8, pickle.BINBYTES8, pickle.BYTEARRAY8])
def test_a_length_beyond_all_memory_is_damage(tmp_path, opcode):
    """`read` of a file would take as much memory as the file states."""
    content = FILES["old.pth"]
    length = (2**62).to_bytes(8, "little")
    for place in (2, content.index(b"\x80", 2) + 2):  # in the first and in the second pickle
        (tmp_path / "old.pth").write_bytes(content[:place] + opcode + length + content[place:])
        assert "the file is truncated" in outcome(tmp_path / "old.pth")


def test_every_byte_of_the_zips_directory(tmp_path):
    content = saved({"a": torch.ones(2, 2)})
    start = content.index(b"PK\x01\x02")
    refused = 0
    for place in range(start, len(content), 2):
        bytes_ = bytearray(content)
        bytes_[place] ^= 0xFF
        (tmp_path / "net.pth").write_bytes(bytes_)
        try:
            read_weights(tmp_path / "net.pth")
        except CheckpointError:
            refused += 1
    assert refused > (len(content) - start) / 3


# Contents


class Call:
    """Pickled as a call."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def deep(depth, wrap=lambda value: (value,)):
    value = 1
    for _ in range(depth):
        value = wrap(value)
    return value


def resized():
    """A tensor of many classes on a storage of one number: torch.load would make the numbers."""
    return Call(
        torch._utils._rebuild_tensor_v2,
        torch.ones(1).untyped_storage(),
        0,
        (10**7, 64),
        (64, 1),
        False,
        {},
    )


def quietly(make):
    """A tensor of a kind whose making warns."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return make()


def sub(**other):
    return {**weights(), **{key.replace("_", "."): each for key, each in other.items()}}


CONTENTS = {
    "expanded": {"a": torch.ones(1, 1).expand(10**6, 10**6)},
    "expanded among others": sub(linear_weight=torch.ones(1, 1).expand(10**7, 64)),
    "ten million classes": sub(
        linear_weight=torch.ones(1, dtype=torch.int8).expand(10**7, 64), linear_bias=None
    ),
    "many heads": {f"{n}.linear.weight": torch.ones(1, 1).expand(10**5, 10**5) for n in range(50)},
    "no classes": sub(linear_weight=torch.ones(0, 64), linear_bias=torch.ones(0)),
    "no channels": sub(conv1_weight=torch.ones(16, 0, 3, 3)),
    "no numbers at all": {key: torch.ones(0) for key in weights()},
    "scalars": {key: torch.tensor(1.0) for key in weights()},
    "one dimension more": {key: each[None] for key, each in weights().items()},
    "nested": {"a": quietly(lambda: torch.nested.nested_tensor([torch.ones(2), torch.ones(3)]))},
    "sparse": sub(linear_weight=torch.ones(4, 64).to_sparse()),
    "csr": {"a": quietly(lambda: torch.ones(4, 4).to_sparse_csr())},
    "quantised": {
        "a": quietly(lambda: torch.quantize_per_tensor(torch.ones(4, 4), 0.1, 0, torch.qint8))
    },
    "meta": {key: each.to("meta") for key, each in weights().items()},
    "complex": {key: each.to(torch.complex64) for key, each in weights().items()},
    "whole numbers": {key: each.to(torch.int32) for key, each in weights().items()},
    "bools": {key: each.bool() for key, each in weights().items()},
    "five thousand prefixes": {"module." * 5000 + key: each for key, each in weights().items()},
    "a hundred prefixes": {"module." * 100 + key: each for key, each in weights().items()},
    "five thousand networks": {
        f"{n}.{key}": torch.ones(1) for n in range(5000) for key in ("conv1.weight", "x")
    },
    "thirty networks": {f"n{n}.{key}": each for n in range(30) for key, each in weights().items()},
    "thirty sets": {f"n{n}": weights() for n in range(30)},
    "a key of a megabyte": {"x" * 10**6: torch.ones(2, 2)},
    "a megabyte beside": {"net": weights(), "y" * 10**6: 3, 10**5: 1},
    "a set of a megabyte's name": {"z" * 10**6: weights(), "z2": weights()},
    "long keys": {f"{'x' * 900}{n}": torch.ones(2, 2) for n in range(20)},
    "null bytes": {
        "a\0b": torch.ones(2, 2), "\x1b[31mred\x1b[0m": torch.ones(2, 2), "\r\n": torch.ones(1)
    },
    "half a character": {"\ud800": torch.ones(2, 2)},
    "directions": {"\u202e\u2066abc": torch.ones(2, 2)},
    "names of other kinds": {
        1: torch.ones(2, 2), None: torch.ones(2, 2), (1, 2): torch.ones(1), 2.5: 1, b"a": 1
    },
    "an empty name": {"": torch.ones(2, 2), ".": torch.ones(2, 2), "..": torch.ones(2, 2)},
    "tuples in tuples": {"a": torch.ones(2, 2), "x": deep(300)},
    "a key of tuples": {deep(300): 1, "a": torch.ones(2, 2)},
    "lists in lists": {"a": torch.ones(2, 2), "x": deep(2000, lambda value: [value])},
    "dicts in dicts": deep(2000, lambda value: {"model": value}),
    "wide": {f"{n}": {f"{m}": {"c": 1} for m in range(100)} for n in range(200)},
    "a bytearray": {"a": torch.ones(2, 2), "x": Call(bytearray, 10**11)},
    "a tensor of any length": {"a": Call(torch.Tensor, 10**10)},
    "a resized storage": {"linear.weight": resized()},
    "a module": nn.Sequential(nn.Linear(2, 2)),
    "a function": {"a": torch.ones(2, 2), "f": os.path.join},
    "a call": {"a": Call(os.getcwd)},
    "eval": {"a": Call(eval, "1")},
    "a stand-in that is called": {"a": torch.ones(2, 2), "x": Call(Namespace)},
    "pairs": [("a", torch.ones(2, 2)), ("a", torch.ones(2, 2))],
    "pairs of others": [("a", 1), ("b", [1])],
    "triples": [("a", torch.ones(2, 2), 1)],
    "a string": "weights", "a number": 3, "none": None, "nothing": {}, "an empty list": [],
    "bytes": b"x" * 100,
    "not finite": sub(conv1_weight=torch.full((16, 1, 3, 3), float("nan"))),
    "the largest": {"a": torch.full((2, 2), 3e38)},
    "no floats": {"a": torch.ones(2, 2).long()},
    "float8": {
        key: each.to(torch.float8_e4m3fn)
        for key, each in weights().items()
        if each.is_floating_point()
    },
    "shared storages": {f"{n}": each for each in [torch.ones(1000, 1000)] for n in range(1000)},
    "overlapping": {"a": torch.ones(10).as_strided((5, 6), (1, 1))},
    "a view far inside": {"a": torch.ones(1000)[999:].reshape(1, 1)},
}  # fmt: skip


@pytest.mark.parametrize("name", CONTENTS)
def test_contents(tmp_path, name):
    """In both of torch.save's formats; found by itself, and named as an architecture and as an
    entry.
    """
    for zipped in (True, False):
        try:
            content = saved(CONTENTS[name], _use_new_zipfile_serialization=zipped)
        except Exception:  # noqa: BLE001 - what can't be written in this format need not be read
            continue
        (tmp_path / "net.pth").write_bytes(content)
        for section in ({}, {"arch": "cifar_resnet8"}, {"entry": "net"}, {"entry": "a.b\0" * 50}):
            outcome(tmp_path / "net.pth", **section)


def raw(name, number):
    """A pickle that no save has written."""
    heads = {
        "dict of itself": b"\x80\x02}q\x00X\x05\x00\x00\x00modelq\x01h\x00s.",
        "list of itself": b"\x80\x02]q\x00h\x00a.",
        "long": b"\x80\x02\x8b" + struct.pack("<i", 2**31 - 1) + b"x.",
        "text of 4 GB": b"\x80\x02X" + struct.pack("<I", 2**32 - 1) + b"x.",
        "no stop": b"\x80\x02}" * 1000,
        "memo": b"\x80\x02r" + struct.pack("<I", 2**32 - 1) + b".",
        "marks": b"\x80\x02" + b"(" * 100_000 + b".",
        "tuples": b"\x80\x02)" + b"\x85" * 200_000 + b".",
        "tuples and memos": b"\x80\x02)" + b"\x85q\x01" * 100_000 + b".",
        "tuples of two": b"\x80\x02)" + b")\x86" * 100_000 + b".",
        "tuples as a key": b"\x80\x02})" + b"\x85" * 200_000 + b"Ns.",
    }
    content = heads[name]
    if number == 0:
        return content
    if number == 1:  # in the old format, behind its three heads
        magic, version, system = (
            pickle.dumps(each, 2)
            for each in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True})
        )
        return magic + version + system + content
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("archive/data.pkl", content)
        archive.writestr("archive/version", "3\n")
        archive.writestr("archive/byteorder", "little")
    return file.getvalue()


RAW = ("dict of itself", "list of itself", "long", "text of 4 GB", "no stop", "memo", "marks",
       "tuples",
       "tuples and memos", "tuples of two", "tuples as a key")  # fmt: skip


@pytest.mark.parametrize("name", RAW)
@pytest.mark.parametrize("number", [0, 1, 2])
def test_pickles_that_nobody_saved(tmp_path, name, number):
    (tmp_path / "net.pth").write_bytes(raw(name, number))
    assert outcome(tmp_path / "net.pth")


def header(text, numbers=b"\0" * 16):
    text = text if isinstance(text, bytes) else json.dumps(text).encode()
    return struct.pack("<Q", len(text)) + text + numbers


ONE = {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]}
SAFETENSORS = {
    "a header of 2^63": struct.pack("<Q", 2**63) + b"{}",
    "a header of 100 MB": struct.pack("<Q", 10**8) + b"{}",
    "no JSON": header(b"{]"), "a list": header([]), "a number": header(b"3"), "nothing": header({}),
    "null": header(b"null"),
    "not UTF-8": header(b'{"\xff": 1}'),
    "half a character": header(b'{"\\ud800": %s}' % json.dumps(ONE).encode()),
    "deep": header(b'{"a":' * 10_000),
    "no such type": header({"a": {**ONE, "dtype": "F7"}}),
    "a type that PyTorch has not": header(
        {"a": {"dtype": "F4", "shape": [2, 16], "data_offsets": [0, 16]}}
    ),
    "negative": header({"a": {**ONE, "data_offsets": [-1, 16]}}),
    "beyond": header({"a": {**ONE, "data_offsets": [0, 10**12]}}),
    "too large": header({"a": {**ONE, "shape": [2**40, 2**40]}}),
    "too many": header({"a": {**ONE, "shape": [1] * 10_000 + [2, 2]}}),
    "no shape": header({"a": {"dtype": "F32", "data_offsets": [0, 16]}}),
    "twice": header(b'{"a": %s, "a": %s}' % ((json.dumps(ONE).encode(),) * 2)),
    "odd metadata": header({"__metadata__": {"format": 3}, "a": ONE}),
    "metadata of a list": header({"__metadata__": [], "a": ONE}),
    "a megabyte of metadata": header(
        {"__metadata__": {"format": "slimmer-1", "arch": "x" * 10**6}, "a": ONE}
    ),
    "a name with null": header({"a\0": ONE}),
    **{
        f"own {number}": header({"__metadata__": {"format": "slimmer-1", **meta}, "a": ONE})
        for number, meta in enumerate((
            {}, {"arch": "cifar_resnet8"},
            {"arch": "", "num_classes": "1", "input_size": "[1, 8, 8]"},
            {"arch": "cifar_resnet8", "num_classes": "1000000000", "input_size": "[1, 8, 8]"},
            {"arch": "cifar_resnet8", "num_classes": "-1", "input_size": "[1, 8, 8]"},
            {"arch": "cifar_resnet8", "num_classes": "1e9", "input_size": "[1, 8, 8]"},
            {"arch": "cifar_resnet8", "num_classes": "9" * 5000, "input_size": "[1, 8, 8]"},
            {"arch": "cifar_resnet8", "num_classes": "4", "input_size": "[1, -8, 8]"},
            {"arch": "cifar_resnet8", "num_classes": "4", "input_size": "[Infinity, 8, 8]"},
            {"arch": "cifar_resnet8", "num_classes": "4", "input_size": "[1000000000, 8, 8]"},
            {"arch": "cifar_resnet8", "num_classes": "4", "input_size": "[" * 5000},
            {"arch": "cifar_resnet8", "num_classes": "4", "input_size": "[1, 8, 8]", "plan": "{}"},
            {"arch": "cifar_resnet8", "num_classes": "4", "input_size": "[1, 8, 8]",
             "plan": "[" * 5000},
            {"arch": "/dev/zero.py:make", "num_classes": "4", "input_size": "[1, 8, 8]"},
            {"arch": "timm/../x", "num_classes": "4", "input_size": "[1, 8, 8]"},
            {"arch": "\u202e\x1b[31m", "num_classes": "4", "input_size": "[1, 8, 8]"},
        ))
    },
}  # fmt: skip


@pytest.mark.parametrize("name", SAFETENSORS)
def test_safetensors_that_nobody_saved(tmp_path, name):
    (tmp_path / "net.safetensors").write_bytes(SAFETENSORS[name])
    assert outcome(tmp_path / "net.safetensors")
    outcome(tmp_path / "net.safetensors", arch="cifar_resnet8")


# Archives


def archive(members, method=zipfile.ZIP_STORED):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as written:
        for name, content in members:
            written.writestr(name, content)
    return file.getvalue()


def overlapping():
    """Every entry of the directory is the same stored megabyte."""
    content = archive([("archive/data.pkl", b"x"), ("archive/data/0", bytes(10**6))])
    start = content.rindex(b"PK\x01\x02")
    end = content.index(b"PK\x05\x06")
    entries = content[content.index(b"PK\x01\x02") : start] + content[start:end] * 1000
    head = content[: content.index(b"PK\x01\x02")]
    return (
        head
        + entries
        + struct.pack("<IHHHHIIH", 0x06054B50, 0, 0, 1001, 1001, len(entries), len(head), 0)
    )


ARCHIVES = {
    "a bomb": archive(
        [("archive/data.pkl", b"x"), ("archive/data/0", bytes(10**8))], zipfile.ZIP_DEFLATED
    ),
    "a bomb of pickles": archive(
        [("archive/data.pkl", b"\x80\x02" + b"N" * 10**8)], zipfile.ZIP_DEFLATED
    ),
    "a bomb by bzip2": archive([("archive/data.pkl", bytes(10**8))], zipfile.ZIP_BZIP2),
    "a bomb by lzma": archive([("archive/data.pkl", bytes(10**8))], zipfile.ZIP_LZMA),
    "overlapping": overlapping(),
    "names that lead out": archive([("../../data.pkl", b"\x80\x02}.")]),
    "many": archive(
        [("archive/data.pkl", b"\x80\x02}.")] + [(f"archive/data/{n}", b"") for n in range(5000)]
    ),
    "a program": archive([("archive/constants.pkl", b""), ("archive/data.pkl", b"")]),
    "no version": archive([("archive/data.pkl", b"\x80\x02}.")]),
    "nothing": archive([]),
    "a picture": archive([("image.png", b"\x89PNG")]),
}


@pytest.mark.parametrize("name", ARCHIVES)
def test_archives_that_nobody_saved(tmp_path, name):
    (tmp_path / "net.pth").write_bytes(ARCHIVES[name])
    assert outcome(tmp_path / "net.pth")


# Places


def places(folder):
    """What is no regular file, or has a name that can't be."""
    os.mkfifo(folder / "pipe.pth")
    os.mkfifo(folder / "pipe.safetensors")
    (folder / "dangling.pth").symlink_to(folder / "gone")
    (folder / "loop.pth").symlink_to(folder / "loop.pth")
    (folder / "folder").mkdir()
    (folder / "hub").mkdir()
    os.mkfifo(folder / "hub" / "model.safetensors")
    (folder / "run").mkdir()
    (folder / "run" / "recipe.yaml").write_text("")
    (folder / "run2").mkdir()
    (folder / "run2" / "recipe.yaml").write_text("")
    os.mkfifo(folder / "run2" / "slim.safetensors")
    with chdir(folder), socket.socket(socket.AF_UNIX) as listening:
        listening.bind("socket.pth")
    names = [each.name for each in folder.iterdir()]
    given = ["", ".", "a\0b.pth", "a\0b.safetensors", "\ud800.pth", "x" * 300, "x/" * 1500]
    given += [os.fsdecode(b"\xff.pth"), "\x1b[31m.pth", "~/net.pth", "file:///net.pth"]
    given += ["https://x/net.pth", "*.pth"]
    return [
        *(str(folder / name) for name in [*names, *given]),
        *given,
        "/dev/zero",
        "/dev/null",
        "/dev/stdin",
        "/proc/self/mem",
    ]


def test_places(tmp_path):
    with chdir(tmp_path):
        for place in places(tmp_path):
            assert outcome(place), place


def test_a_name_that_is_no_text_is_shown(tmp_path):
    (tmp_path / "net.pth").write_bytes(b"x")
    strange = tmp_path / os.fsdecode(b"\xff\x1b[31m.pth")
    (tmp_path / "net.pth").rename(strange)
    assert "is not a checkpoint" in outcome(strange)
    done = command("inspect", strange)
    assert done.exit_code == 2
    assert "\x1b" not in done.output


@pytest.mark.parametrize(
    "name",
    ["a megabyte beside", "a resized storage", "no classes", "null bytes", "tuples in tuples"],
)
def test_the_commands_end_in_one_message(tmp_path, name):
    (tmp_path / "net.pth").write_bytes(saved(CONTENTS[name]))
    for arguments in (["inspect"], ["prune", "--flops", "0.5"]):
        with chdir(tmp_path):
            done = command(*arguments, tmp_path / "net.pth")
        assert done.exit_code in {0, 2}, done.output
        assert done.exception is None or isinstance(done.exception, SystemExit)
        assert [each.name for each in tmp_path.iterdir() if each.name != "runs"] == ["net.pth"]


def test_there_are_at_least_two_hundred_cases():
    assert (
        len(FILES) * 5 * 20 + len(CONTENTS) + len(RAW) * 3 + len(SAFETENSORS) + len(ARCHIVES) > 500
    )
