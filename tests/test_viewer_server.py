"""What the viewer's server shows to whom, without a browser."""

import dataclasses
import signal
import socket
import threading
import time
import urllib.request
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from box_rooms import box_room
from PIL import Image
from programs import Started

from data.user_maps.depth_files import DepthFile
from launch.recovery import one_map
from launch.recovery.config import RecoveryConfig, SaveSettings
from train3d_jax.errors import UserError

viser = pytest.importorskip("viser", reason="viser is not installed")
from benchmarks.view import Browser  # noqa: E402
from launch.viewer import drawings as viewer_drawings  # noqa: E402
from launch.viewer import maps as viewer_maps  # noqa: E402
from launch.viewer import server as viewer_server  # noqa: E402
from launch.viewer.config import ViewConfig  # noqa: E402
from launch.viewer.window import ViewerContext  # noqa: E402


@pytest.fixture
def config(tmp_path):
    (tmp_path / "maps").mkdir()
    np.save(tmp_path / "maps" / "room.npy", box_room(0)[0])
    return RecoveryConfig(tmp_path / "maps", tmp_path / "out", (), "depth", "geometric")


@pytest.fixture
def server(config):
    entries = viewer_maps.entries_of_folder(config)
    running = viewer_server.Server(ViewerContext(entries, config, (), False, False), "127.0.0.1", 0)
    yield running
    running.stop()


def test_what_recover_needs_is_compiled_ahead(config, monkeypatch):
    ahead = threading.Event()
    recover = lambda *_, at_once, **__: at_once == 1 and ahead.set()  # noqa: E731
    monkeypatch.setattr(viewer_server.recovery, "recover_blocks", recover)
    monkeypatch.setattr(viewer_server.map_checks, "form_evidence", lambda *_, **__: None)
    listing = one_map.find_maps(config)
    running, _ = viewer_server.serve(ViewConfig(config, listing, "127.0.0.1", 0, False))
    assert ahead.wait(60)
    running.stop()


def test_pages_of_others_get_nothing(server):
    foreign = Browser(server.get_port(), origin="http://elsewhere.example")
    while not server.get_clients():
        time.sleep(0.01)
    (number,) = server.get_clients()
    with Browser(server.get_port(), origin=f"http://127.0.0.1:{server.get_port()}"):
        assert server._windows and number not in server._windows
    del foreign


def test_names_of_this_machine_alone_are_answered(server):
    def client(**headers):
        server._websock_server._live_connections[77] = SimpleNamespace(
            request=SimpleNamespace(headers=headers)
        )
        return SimpleNamespace(client_id=77)

    try:
        assert server._is_own_page(client(Origin="http://localhost:1", Host="localhost:1"))
        assert server._is_own_page(client(Host="127.0.0.1:1"))  # no browser
        for host in ("rebound.example:1", "127.0.0.1.example"):
            assert not server._is_own_page(client(Origin=f"http://{host}", Host=host))
        assert not server._is_own_page(client(Origin="null", Host="localhost:1"))
    finally:
        del server._websock_server._live_connections[77]


def test_nothing_but_the_page_is_served_and_no_tunnel_is_opened(server, config):
    address = f"http://127.0.0.1:{server.get_port()}"
    with urllib.request.urlopen(address) as page:
        assert b"<html" in page.read()
    for path in ("/room.npy", "/../pyproject.toml", str(config.input / "room.npy")):
        with pytest.raises(urllib.error.HTTPError, match="404"):
            urllib.request.urlopen(address + path)
    assert server.request_share_url() is None


def test_an_address_that_is_taken_is_reported(config):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UserError, match=f"--port={port}"):
            viewer_server.Server(ViewerContext((), config, (), False, False), "127.0.0.1", port)
    with pytest.raises(UserError, match=r"--host=192\.0\.2\.1"):
        viewer_server.Server(ViewerContext((), config, (), False, False), "192.0.2.1", 0)


def test_answers_cannot_be_saved_among_the_maps(config):
    among = dataclasses.replace(config, out=config.input)
    with pytest.raises(UserError, match="where the input is"):
        viewer_maps.entries_of_folder(among)


def test_names_of_files_are_no_html():
    evil = '"><img src=x onerror=alert(1)>.npy'
    drawn = viewer_drawings.thumbnails([viewer_drawings.Thumbnail(evil, "")], 0, evil)
    assert "<img" not in drawn + viewer_drawings.message(evil)


@pytest.mark.parametrize("name", ["../../up.npy", "C:\\maps\\up.npy", "/up.npy", "up.npy"])
def test_uploads_stay_in_their_folder(tmp_path, config, name):
    (tmp_path / "upload").mkdir()
    entry = viewer_maps.entry_of_upload(tmp_path / "upload", name, b"no map", config)
    assert entry.name == "up.npy"
    assert [path.name for path in (tmp_path / "upload").iterdir()] == ["up.npy"]
    with pytest.raises(UserError, match=r"^up\.npy: is not a readable numpy file"):
        entry.read()


@pytest.mark.parametrize("name", ["", "..", "...", "a\0b\n" + 400 * "é" + ".npy", "x" * 999])
def test_odd_names_of_uploads_are_kept_too(tmp_path, config, name):
    entry = viewer_maps.entry_of_upload(tmp_path, name, b"", config)
    with pytest.raises(UserError):
        entry.read()


def test_clouds_have_the_colours_of_their_images(tmp_path, config):
    pixels = np.random.default_rng(0).integers(0, 256, (96, 128, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "room.png")
    coloured = RecoveryConfig(
        config.input, config.out, (), "depth", "geometric", saving=SaveSettings(rgb=tmp_path)
    )
    (entry,) = viewer_maps.entries_of_folder(coloured)
    look = viewer_maps.MapView(entry, coloured)
    place = look.cloud(look.first_guess)
    focal = look.first_guess.focal
    columns = np.rint(place[:, 0] / place[:, 2] * focal + 63.5).astype(int)
    rows = np.rint(place[:, 1] / place[:, 2] * focal + 47.5).astype(int)
    np.testing.assert_array_equal(look.colours, pixels[rows, columns])


def test_the_one_image_of_the_input_colours_no_upload(tmp_path, config):
    Image.new("RGB", (128, 96), (200, 10, 10)).save(tmp_path / "photo.png")
    coloured = RecoveryConfig(
        config.input, config.out, (), "depth", "geometric",
        saving=SaveSettings(rgb=tmp_path / "photo.png"),
    )  # fmt: skip
    (entry,) = viewer_maps.entries_of_folder(coloured)
    (path,) = Path(config.input).glob("*.npy") if config.input.is_dir() else [config.input]
    upload = viewer_maps.entry_of_upload(tmp_path / "u", path.name, path.read_bytes(), coloured)
    of_map, of_upload = (viewer_maps.MapView(one, coloured).colours for one in (entry, upload))
    assert (of_map == [200, 10, 10]).all()
    assert not (of_upload == [200, 10, 10]).all(-1).any()


@pytest.mark.parametrize("space", ["depth", "disparity"])
def test_scores_peak_and_errors_vanish_at_the_truth(config, space):
    depth, intrinsics = box_room(0)
    values = depth if space == "depth" else 1 / depth
    found = viewer_maps.Map(DepthFile(Path(), "room", "room"), values, None)
    own = RecoveryConfig(config.input, config.out, (), space, "geometric")
    look = viewer_maps.MapView(viewer_maps.Entry("room", lambda: (found, intrinsics)), own)
    truth = look.truth
    errors = look.errors(truth)
    assert max(errors) < 1e-3
    assert look.right(truth.shift, truth.focal) > 0.8 > look.right(truth.shift, 2 * truth.focal)
    assert look.errors(truth._replace(shift=truth.shift + 0.2)).points > 0.02
    if space == "depth":
        assert look.flat(truth.shift) > 0.9 > look.flat(truth.shift + 0.3)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_program_shows_a_folder_until_it_is_asked_to_end(config, number):
    flags = ("--input", config.input, "--model=", "--space", "depth", "--port", 0)
    program = Started(config.input.parent, "view", *flags)
    try:
        while "\n" not in program.stdout:
            assert program.poll() is None, program.communicate()
            time.sleep(0.01)
        line = program.stdout
        address = line.split()[0]
        assert address.startswith("http://127.0.0.1:") and "shows 1 map of" in line
        with Browser(int(address.rsplit(":", 1)[1])):
            program.send_signal(number)
            program.wait(timeout=60)
    finally:
        if program.poll() is None:
            program.kill()
    out, errors = program.communicate()
    assert (program.returncode, out.strip(), errors) == (0, line.strip(), "")
