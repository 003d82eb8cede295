"""Files are there whole or not at all, whatever happens while they are written."""

import json
import os
import stat

import pytest

from slimmer.atomic_files import read_json, whole, write_json, write_text


@pytest.fixture
def umask():
    """Sets the umask, and puts it back after the test."""
    before = os.umask(0o022)
    yield os.umask
    os.umask(before)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_what_is_written_is_not_seen_before_it_is_whole(tmp_path):
    file = tmp_path / "report.md"
    file.write_text("old")
    with whole(file) as part:
        part.write_text("new")
        assert part.parent == file.parent  # one file system, so that the last step is one step
        assert file.read_text() == "old"
    assert file.read_text() == "new"
    assert names(tmp_path) == ["report.md"]


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("old", [None, "old"])
def test_a_write_that_fails_leaves_what_was_there_and_nothing_else(tmp_path, old, error):
    file = tmp_path / "report.md"
    if old is not None:
        file.write_text(old)

    def fail(part):
        part.write_text("half of the n")
        raise error

    with pytest.raises(error), whole(file) as part:
        fail(part)
    assert names(tmp_path) == ([] if old is None else ["report.md"])
    assert old is None or file.read_text() == old


def test_a_disk_that_fails_at_the_last_moment_leaves_what_was_there(tmp_path, monkeypatch):
    file = tmp_path / "report.md"
    file.write_text("old")

    def fail(descriptor):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="Input/output"):
        write_text(file, "new")
    assert file.read_text() == "old"
    assert names(tmp_path) == ["report.md"]


def test_a_folder_in_the_way_stays(tmp_path):
    (tmp_path / "report.md").mkdir()
    (tmp_path / "report.md" / "precious").touch()
    with pytest.raises(OSError, match=r"report\.md"):
        write_text(tmp_path / "report.md", "new")
    assert names(tmp_path) == ["report.md"]
    assert names(tmp_path / "report.md") == ["precious"]


def test_folders_on_the_way_are_made(tmp_path):
    write_text(tmp_path / "runs" / "first" / "report.md", "é")
    assert (tmp_path / "runs" / "first" / "report.md").read_bytes() == b"\xc3\xa9"


@pytest.mark.parametrize("mask", [0o022, 0o077, 0o002, 0o000])
def test_permissions_are_those_of_any_new_file(tmp_path, umask, mask):
    umask(mask)
    (tmp_path / "plain").touch()
    write_text(tmp_path / "ours", "text")
    write_text(tmp_path / "ours", "again")
    modes = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("plain", "ours")]
    assert modes[0] == modes[1] == 0o666 & ~mask
    assert os.umask(0o022) == mask  # reading the umask did not change it


@pytest.mark.parametrize(
    "value", [{"a": [1, 2.5, None, True, "é\n"], "b": {}}, [], 3, "text", None, 1e-300]
)
def test_json_comes_back_and_is_json_for_others(tmp_path, value):
    write_json(tmp_path / "value.json", value)
    assert read_json(tmp_path / "value.json") == value
    text = (tmp_path / "value.json").read_text(encoding="utf-8")
    assert json.loads(text) == value
    assert text.endswith("\n")


def test_what_is_no_json_value_is_not_written(tmp_path):
    write_json(tmp_path / "value.json", 1)
    with pytest.raises(TypeError):
        write_json(tmp_path / "value.json", {"a": object()})
    assert read_json(tmp_path / "value.json") == 1
    assert names(tmp_path) == ["value.json"]
