"""Files of several maps as clips: found, put in order, and read by several threads at once."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from data.user_maps import clips
from data.user_maps.depth_files import DepthFile
from train3d_jax.errors import DataError
from train3d_jax.formats.depth import ReadSettings
from train3d_jax.formats.frames import Frames

SETTINGS = ReadSettings()
SIZE = (24, 32)


def put_clip(path, count, start=0):
    """A stack whose frames hold their number."""
    numbers = np.arange(start, start + count, dtype=np.float32)
    np.save(path, np.broadcast_to(numbers[:, None, None], (count, *SIZE)))


def frames_of(folder, name="film.npy"):
    stem = name.split(".")[0]
    maps, _ = clips.with_frames([DepthFile(folder, name, stem)], SETTINGS)
    return maps


@pytest.fixture
def read(monkeypatch):
    """Numbers of the frames that were read from files, each time that they were."""
    read, real = [], clips.read_frames

    def read_frames(path, settings):
        frames = real(path, settings)

        def counted():
            for number, values in enumerate(frames):
                read.append(number)
                yield values

        return Frames(path, frames.count, frames.size, counted)

    monkeypatch.setattr(clips, "read_frames", read_frames)
    return read


def numbers_of(files):
    return [float(clips.read_map(file, SETTINGS)[0, 0]) for file in files]


def test_frames_are_maps_with_names_of_their_own(tmp_path):
    put_clip(tmp_path / "film.npy", 3)
    np.save(tmp_path / "still.npy", np.ones(SIZE))
    (tmp_path / "broken.npy").write_bytes(b"nothing")
    files = [DepthFile(tmp_path, f"{name}.npy", name) for name in ("broken", "film", "still")]
    maps, of_clips = clips.with_frames(files, SETTINGS)
    names = ["film/000000", "film/000001", "film/000002"]
    assert [file.name for file in maps] == ["broken", *names, "still"]
    assert [file.label for file in maps[1:3]] == ["film.npy[0]", "film.npy[1]"]
    assert of_clips == dict.fromkeys(names, "film")
    with pytest.raises(DataError, match=r"broken\.npy"):
        clips.read_map(maps[0], SETTINGS)
    assert clips.read_map(maps[-1], SETTINGS).shape == SIZE


def test_frames_one_after_another_are_read_once(tmp_path, read):
    put_clip(tmp_path / "film.npy", 30)
    files = frames_of(tmp_path)
    assert numbers_of(files) == list(range(30)) == read
    assert numbers_of(files) == list(range(30))  # the next pass
    assert read == 2 * list(range(30))


def test_frames_a_little_out_of_order_are_read_once(tmp_path, read):
    put_clip(tmp_path / "film.npy", 8)
    order = [1, 0, 4, 2, 3, 7, 6, 5]
    assert numbers_of([frames_of(tmp_path)[number] for number in order]) == order
    assert read == list(range(8))
    assert numbers_of([frames_of(tmp_path)[3]]) == [3]  # as the viewer may ask


def test_frames_far_back_are_read_again(tmp_path, read):
    put_clip(tmp_path / "film.npy", 200)
    files = frames_of(tmp_path)
    assert numbers_of([files[199], files[0], files[150], files[149]]) == [199, 0, 150, 149]
    assert len(read) == 200 + 151  # frame 149 was kept, frame 0 was not


def test_two_threads_read_each_frame_once(tmp_path, read):
    put_clip(tmp_path / "film.npy", 60)
    files = frames_of(tmp_path)
    with ThreadPoolExecutor(2) as threads:
        found = threads.map(lambda file: clips.read_map(file, SETTINGS)[0, 0], files)
        assert list(found) == list(range(60)) == read


def test_frames_of_many_files_may_be_mixed(tmp_path, read):
    for film in range(6):
        put_clip(tmp_path / f"{film}.npy", 3, start=10 * film)
    films = [frames_of(tmp_path, f"{film}.npy") for film in range(6)]
    order = [film[number] for number in range(3) for film in films]
    assert numbers_of(order) == [10 * film + number for number in range(3) for film in range(6)]


def test_settings_make_another_reading(tmp_path):
    put_clip(tmp_path / "film.npy", 3)
    files = frames_of(tmp_path)
    negated = ReadSettings(negate=True)
    assert clips.read_map(files[1], SETTINGS)[0, 0] == 1
    assert clips.read_map(files[1], negated)[0, 0] == -1
    assert clips.read_map(files[2], SETTINGS)[0, 0] == 2


def test_every_frame_of_a_file_that_ends_early_says_why(tmp_path):
    put_clip(tmp_path / "film.npy", 5)
    files = frames_of(tmp_path)
    put_clip(tmp_path / "film.npy", 2)
    assert numbers_of(files[:2]) == [0, 1]
    with pytest.raises(DataError, match="has no frame 3 any more"):
        clips.read_map(files[3], SETTINGS)


def test_every_frame_after_a_broken_one_says_why(tmp_path, monkeypatch):
    put_clip(tmp_path / "film.npy", 5)

    def broken():
        yield np.zeros(SIZE, np.float32)
        raise DataError(tmp_path / "film.npy", "is damaged")

    monkeypatch.setattr(clips, "read_frames", lambda path, _: Frames(path, 5, SIZE, broken))
    files = frames_of(tmp_path)
    assert numbers_of(files[:1]) == [0]
    for file in files[1:]:
        with pytest.raises(DataError, match=r"film\.npy: is damaged"):
            clips.read_map(file, SETTINGS)
    assert numbers_of(files[:1]) == [0]


def test_maps_of_a_folder_follow_the_numbers_in_their_names(tmp_path):
    names = ["b/2.png", "a/10.png", "a/9.png", "a/9_2.png", "a/09.png", "a/x.png", "a/1.5.png"]
    files = [DepthFile(tmp_path, name, name) for name in names]
    found = [file.relative for file in clips.in_order_of_numbers(files)]
    assert found.index("a/9.png") < found.index("a/10.png") < found.index("b/2.png")
    assert found.index("a/1.5.png") < found.index("a/9.png") < found.index("a/9_2.png")
    film = [DepthFile(tmp_path, "film.npz", f"film/{n}", n) for n in (11, 2, 0)]
    assert [file.frame for file in clips.in_order_of_numbers(film)] == [0, 2, 11]


def test_the_viewer_lists_every_frame(tmp_path):
    maps = pytest.importorskip("launch.viewer.maps", reason="viser is not installed")
    from launch.recovery.config import RecoveryConfig

    put_clip(tmp_path / "film.npy", 3)
    np.save(tmp_path / "still.npy", np.ones(SIZE))
    config = RecoveryConfig(tmp_path, tmp_path / "out", (), "depth", method="geometric")
    entries = maps.entries_of_folder(config)
    assert [entry.name for entry in entries] == [*(f"film.npy[{n}]" for n in range(3)), "still.npy"]
    found, truth = entries[2].read()
    assert (found.values == 2).all() and found.shared is None and truth is None
    assert found.file.name == "film/000002"
