"""The viewer while a slider is dragged: new clouds of 100,000 points a second.

    python -m benchmarks.view

A client that stands in for a browser connects as one does, sends a slider's place, and waits until
the cloud, both scores and the table for it have come over the loopback; then it sends the next.  So
all is measured but the browser's own drawing.  The floor is unprojecting alone.
"""

import json
import tempfile
import time
from pathlib import Path
from typing import Any

import jax
import msgspec
import numpy as np
import viser
import zstandard
from websockets.sync.client import ClientConnection, connect

from benchmarks.measuring import Row, in_turns, row
from benchmarks.operations import room_like
from launch.recovery.config import RecoveryConfig
from launch.viewer.maps import MapView, Values, entries_of_folder
from launch.viewer.panel import SHIFTS
from launch.viewer.server import Server
from launch.viewer.window import ViewerContext
from train3d_jax.inference.viewing import MOST_POINTS

UPDATES = 40
"""Of a round."""

_SECONDS = 120
"""To wait for anything: compiling takes some."""

_CAMERA = {
    "type": "ViewerCameraMessage", "wxyz": (1, 0, 0, 0), "position": (0, 0, -3), "fov": 1.0,
    "near": 0.01, "far": 100.0, "image_height": 900, "image_width": 1400, "look_at": (0, 0, 0),
    "up_direction": (0, -1, 0),
}  # fmt: skip


def rows() -> list[Row]:
    """Updates a second."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        np.save(folder / "room.npy", room_like(np.random.default_rng(0)))
        config = RecoveryConfig(folder, folder / "out", (), "depth", "geometric")
        entries = entries_of_folder(config)
        server = Server(ViewerContext(entries, config, (), False, False), "127.0.0.1", 0)
        try:
            with Browser(server.get_port()) as browser:
                view = MapView(entries[0], config)
                assert len(view.distorted) == MOST_POINTS
                tasks = {"drag": browser.drag, "alone": lambda: _unproject(view)}
                rates = {name: UPDATES / taken for name, taken in in_turns(tasks).items()}
        finally:
            server.stop()
    floor = f"{np.median(rates['alone']):.0f} /s: unprojecting alone"
    name = f"viewer: clouds of {MOST_POINTS:,} points, dragged"
    return [row(name, rates["drag"], "/s", 15, floor=floor)]


def _unproject(view: MapView) -> None:
    for shift in np.linspace(0, 1, UPDATES):
        jax.block_until_ready(view.cloud(Values(500.0, float(shift))))


class Browser:
    """What a browser says and hears while the shift is dragged.

    Args:
      port: of the server.
      origin: of the page that it shows; None for none.
    """

    def __init__(self, port: int, origin: str | None = None):
        protocol = f"viser-v{viser.__version__}"
        self._socket: ClientConnection = connect(
            f"ws://127.0.0.1:{port}", subprotocols=[protocol], max_size=None, compression=None,
            origin=origin,
        )  # fmt: skip
        self._place, self._slider = 0, ""

        self._say(_CAMERA)

    def __enter__(self) -> "Browser":
        while not self._hears("set by hand"):
            pass
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def drag(self) -> None:
        """Moves the slider on and on."""
        for _ in range(UPDATES):
            self._place += 1
            value = 1e-3 * round(1e3 * SHIFTS[0]) + 1e-3 * (self._place % 1000)
            self._say(
                {"type": "GuiUpdateMessage", "uuid": self._slider, "updates": {"value": value}}
            )
            while not self._hears(f'data-value=\\"{value!r}\\"'):
                pass

    def _say(self, message: dict[str, Any]) -> None:
        self._socket.send(msgspec.msgpack.encode(message))

    def _hears(self, text: str) -> bool:
        """Takes what comes next; whether `text` is in it."""
        data = self._socket.recv(timeout=_SECONDS)
        assert isinstance(data, bytes)
        length = int.from_bytes(data[8:16], "little")
        head = msgspec.msgpack.decode(zstandard.decompress(data[16 : 16 + length]))
        for message in head["messages"]:
            if message["type"] == "GuiSliderMessage" and message["props"]["label"] == "Shift":
                self._slider = message["uuid"]
        return text in json.dumps(head["messages"], default=str)


def main() -> None:
    """Prints the row, and how long a round took."""
    began = time.perf_counter()
    for each in rows():
        print(f"{each.name:56}{each.value:9.1f} {each.unit} (aim {each.aim})  floor {each.floor}")
    print(f"took {time.perf_counter() - began:.0f} s")


if __name__ == "__main__":
    main()
