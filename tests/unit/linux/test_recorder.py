"""Recording: the numbers of descriptors are foreseen, and steps say what is tolerated."""

from __future__ import annotations

import errno

from jailkit.linux.recorder import Recorder


def test_descriptors_are_the_lowest_that_are_free() -> None:
    recorder = Recorder(inherited=5)
    assert [recorder.open_tree(-100, path, 0) for path in ("/a", "/b", "/c")] == [5, 6, 7]
    recorder.close(6)
    assert recorder.open_tree(-100, "/d", 0) == 6
    assert recorder.new_mount("tmpfs", {"size": "4k"}, 0) == 9, "its context was 8"
    assert recorder.open_place(5, "/tmp") == 8
    gives = {line.arguments[1]: line.gives for line in recorder.lines if line.call == "open_tree"}
    assert gives == {b"/a\0": (5, 5), b"/b\0": (6, 6), b"/c\0": (7, 7), b"/d\0": (6, 6)}


def test_all_others_are_closed_first() -> None:
    assert Recorder(inherited=7).lines[0].arguments == (7, 0xFFFFFFFF, 0)


def test_a_step_is_for_the_lines_in_it() -> None:
    recorder = Recorder(inherited=5)
    with recorder.step("look", tolerated=(errno.ENOENT,)):
        recorder.chdir("/x")
        opened = recorder.open_tree(-100, "/x", 0)
        recorder.move_mount_if_there(opened, 5, "sys")
        recorder.tolerating((errno.EINVAL,), "prctl", 24, 63)
    recorder.chdir("/")
    told = [(line.step, line.call, line.tolerated) for line in recorder.lines[1:]]
    assert told == [
        ("look", "chdir", (errno.ENOENT,)),
        ("look", "open_tree", ()),  # The numbers of descriptors would be others after it.
        ("look", "move_mount", (errno.ENOENT,)),
        ("look", "prctl", (errno.EINVAL,)),
        ("close what was inherited", "chdir", ()),
    ]


def test_ids_that_cannot_be_mapped_are_not_supported() -> None:
    recorder = Recorder(inherited=5)
    recorder.map_ids(6, 7, "/srv")
    assert recorder.lines[-1].thing == "/srv"
    assert set(recorder.lines[-1].unsupported) == {errno.EINVAL, errno.EPERM}
