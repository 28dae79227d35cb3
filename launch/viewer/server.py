"""The viewer's server: one window for each browser's window, and checks of who connects."""

import contextlib
import io
import socket
import threading
import warnings
from urllib.parse import urlsplit

import numpy as np
import viser
from viser import _messages  # see `_bound_uploads`

from launch import program
from launch.viewer import maps
from launch.viewer.config import ViewConfig
from launch.viewer.window import ViewerContext, Window
from train3d_jax.errors import UserError
from train3d_jax.geometry.affine import NETWORK_SPACES
from train3d_jax.inference import map_checks, recovery
from train3d_jax.inference import models as networks
from train3d_jax.lines.segments import stacked

MOST_UPLOADED = 1 << 28
"""Bytes of an upload: `pixels.MOST_PIXELS` in float32, as many as are read."""

# A window may be closed while its thread is about to draw in it.
warnings.filterwarnings("ignore", message="Queued a .* on a closed connection")

_LOCAL = ("127.0.0.1", "localhost", "::1")


class Server(viser.ViserServer):
    """Shows the maps of a context in every window that is opened.

    Args:
      context: the maps, and how to recover them.
      host: address to listen at.
      port: 0 for any free one.

    Raises:
      UserError: the address is taken or not this machine's.
    """

    def __init__(self, context: ViewerContext, host: str, port: int):
        _check_free(host, port)
        self._host, self._context = host, context
        self._windows: dict[int, Window] = {}
        self._compiler: threading.Thread | None = None
        with contextlib.redirect_stdout(io.StringIO()):  # a table of addresses
            super().__init__(host, port, label="Train-3D", verbose=False)
        self.scene.set_up_direction("-y")
        self.gui.configure_theme(show_logo=False, show_share_button=False, control_width="large")
        self.gui.main_panel.dock_right()
        self.on_client_connect(self._open)
        self.on_client_disconnect(self._close)

    def request_share_url(self, verbose: bool = True) -> str | None:
        """Nothing: viser would have a page ask for an address on the internet."""
        del verbose

    def compile_ahead(self) -> None:
        """Compiles what Recover needs, while the user looks at the first map."""
        self._compiler = threading.Thread(target=_compile, args=(self._context,), daemon=True)
        self._compiler.start()

    def compiles(self) -> bool:
        """Whether `compile_ahead` is still at work."""
        return self._compiler is not None and self._compiler.is_alive()

    def stop(self) -> None:
        """Closes all windows and ends."""
        for number in list(self._windows):
            self._windows.pop(number).close()
        with contextlib.redirect_stdout(io.StringIO()):
            super().stop()

    def _open(self, client: viser.ClientHandle) -> None:
        if not self._is_own_page(client):
            return
        window = Window(client, self._context)
        _bound_uploads(client, window)
        self._windows[client.client_id] = window
        if client.client_id not in self.get_clients():  # it was closed meanwhile
            self._close(client)

    def _close(self, client: viser.ClientHandle) -> None:
        window = self._windows.pop(client.client_id, None)
        if window is not None:
            window.close()

    def _is_own_page(self, client: viser.ClientHandle) -> bool:
        """Whether the page is ours: any page on the web can make a browser connect here."""
        connection = self._websock_server._live_connections.get(client.client_id)
        if connection is None or connection.request is None:
            return False
        origin, host = (connection.request.headers.get(name) for name in ("Origin", "Host"))
        if origin is not None and urlsplit(origin).netloc != host:
            return False
        name = urlsplit(f"//{host}").hostname
        return self._host not in _LOCAL or name in _LOCAL


def _bound_uploads(client: viser.ClientHandle, window: Window) -> None:
    """Refuses uploads by the size that is announced before them; viser would take any."""

    def check(_: object, started: _messages.FileTransferStartUpload) -> None:
        if started.size_bytes <= MOST_UPLOADED:
            return
        client.gui._current_file_upload_states.pop(started.transfer_uuid, None)
        # The page waits for this before another file can be sent.
        client._websock_connection.queue_message(
            _messages.FileTransferPartAck(
                started.source_component_uuid, started.transfer_uuid, started.size_bytes,
                started.size_bytes,
            )
        )  # fmt: skip
        window.refuse(
            f"{started.filename}: is {started.size_bytes / 2**20:.0f} MiB; more than "
            f"{MOST_UPLOADED >> 20} are not taken from a browser: open it with --input"
        )

    client._websock_connection.register_handler(_messages.FileTransferStartUpload, check)


def _check_free(host: str, port: int) -> None:
    """Refuses an address that is taken: viser takes the next port, or waits for ever."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        socket.create_server((host, port), family=family).close()
    except (OSError, OverflowError) as error:
        reason = str(getattr(error, "strerror", None) or error).partition(" (")[0]
        raise UserError(f"--host={host} --port={port}: {reason}; give another one") from None


def serve(config: ViewConfig) -> tuple[Server, int]:
    """Loads the networks and starts a server; it and the number of maps.

    Raises:
      UserError: a network cannot be loaded, there is no map, or the address cannot be had.
    """
    settings = config.recovery
    entries = (
        maps.entries_of_set(settings)
        if config.listing is None
        else maps.entries_of_folder(settings, config.listing)
    )
    try:
        models = [networks.load_model(run, settings.space) for run in settings.runs]
    except UserError as error:
        raise UserError(f"{program.message(error)}; --model= shows maps without networks") from None
    if models:
        networks.check_models(models, settings.space, focal_known=False)
    context = ViewerContext(
        entries, settings, models, config.geometry_with_networks,
        truth=config.listing is None, listing=config.listing,
    )  # fmt: skip
    server = Server(context, config.host, config.port)
    server.compile_ahead()
    return server, len(entries)


def _compile(context: ViewerContext) -> None:
    method = context.methods()[0]
    models, space = context.models_for(method), context.config.space
    blocks = recovery.make_blocks([np.ones((8, 8))])
    with contextlib.suppress(Exception):  # what is wrong is reported when it is asked for
        at_once = context.at_once
        segments = stacked([None], any(entry.pictured for entry in context.entries))
        recovery.recover_blocks(
            models, blocks, method=method, space=space, at_once=at_once, segments=segments
        )
        if space in NETWORK_SPACES:
            map_checks.form_evidence(np.array(blocks.values), np.array(blocks.mask), at_once)
