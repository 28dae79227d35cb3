from pathlib import Path

import pytest
from raw_files import put

from data.user_maps.depth_files import find_depth_files
from data.walking import files_below, files_matching


def lay_out(root: Path, *names):
    for name in names:
        put(root / name, b"")


def test_linked_folders_and_files_are_followed_and_each_folder_is_entered_once(tmp_path):
    lay_out(tmp_path, "store/c/d1.npy", "maps/a/d0.npy", "maps/z/e.npy", "other.npy")
    maps = tmp_path / "maps"
    (maps / "c").symlink_to(tmp_path / "store" / "c")
    (maps / "again").symlink_to(tmp_path / "store" / "c")
    (maps / "0a").symlink_to(maps / "a")  # found at its own path, though the link comes first
    (maps / "a" / "loop").symlink_to(maps)
    (maps / "z" / "up").symlink_to(maps)
    (maps / "file.npy").symlink_to(tmp_path / "other.npy")
    (maps / "broken.npy").symlink_to(tmp_path / "nowhere")
    expected = ["a/d0.npy", "again/d1.npy", "file.npy", "z/e.npy"]
    assert files_below(maps) == expected
    for pattern in ("**/*.npy", "**"):
        assert files_matching(maps / pattern) == (maps, expected)
    assert files_matching(maps / "*" / "*.npy")[1] == ["a/d0.npy", "again/d1.npy", "z/e.npy"]


def test_what_macos_adds_is_left_out(tmp_path):
    lay_out(tmp_path, "a/._d.npy", "a/d.npy", "__MACOSX/a/._d.npy", "__MACOSX/a/d.npy", "a/_.npy")
    assert files_below(tmp_path) == ["a/_.npy", "a/d.npy"]
    assert files_matching(tmp_path / "*" / "*.npy")[1] == ["a/_.npy", "a/d.npy"]
    assert files_matching(tmp_path / "**" / "._*")[1] == []


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("*.npy", ["a.npy"]),
        ("**/*.npy", ["a.npy", "s1/b.npy", "s1/x/d.npy", "s2/c.npy"]),
        ("s*/**/*.npy", ["s1/b.npy", "s1/x/d.npy", "s2/c.npy"]),
        ("s[2-9]/?.npy", ["s2/c.npy"]),
        ("**/x/**", ["s1/x/d.npy"]),
        ("**/.h/*", ["s1/.h/e.npy"]),
        ("s1/**/.?.npy", ["s1/.f.npy"]),
    ],
)
def test_patterns_match_as_in_a_shell(tmp_path, pattern, found):
    lay_out(tmp_path, "a.npy", "s1/b.npy", "s1/x/d.npy", "s2/c.npy", "s1/.h/e.npy", "s1/.f.npy")
    root, files = files_matching(tmp_path / pattern)
    assert [(root / file).relative_to(tmp_path).as_posix() for file in files] == found


def test_files_in_folders_that_begin_with_a_dot_are_listed_without_a_pattern(tmp_path):
    lay_out(tmp_path, ".hidden/a.npy", "b.npy")
    assert files_below(tmp_path) == [".hidden/a.npy", "b.npy"]


@pytest.mark.parametrize("source", [".", "**/*.npy", "*/*.npy", "*/*/*.npy"])
def test_the_output_folder_is_left_out_also_behind_a_link(tmp_path, source):
    lay_out(tmp_path, "in/a/a.npy", "disk/out/b.npy", "disk/c.npy")
    (tmp_path / "in" / "link").symlink_to(tmp_path / "disk")
    if source == "*/*/*.npy":
        lay_out(tmp_path, "disk/kept/d.npy")
    found = find_depth_files(tmp_path / "in" / source, leave_out=tmp_path / "disk" / "out")
    expected = ["link/kept/d.npy"] if source == "*/*/*.npy" else ["a/a.npy", "link/c.npy"]
    assert [file.relative for file in found] == expected
