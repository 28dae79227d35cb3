"""One window of the viewer: its state, and what its controls do.

Each window has one thread, which runs its tasks one after the other, so that windows do not disturb
each other.  Of tasks of one kind that pile up, as while a slider is dragged, only the latest runs.
"""

import dataclasses
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple, cast

import viser

from data.user_maps.clips import frames_by_clip
from data.user_maps.depth_files import DepthFile, Listing
from data.user_maps.known_cameras import KnownCamera
from launch import program
from launch.recovery import one_map
from launch.recovery.config import ENDINGS, METHODS, RecoveryConfig
from launch.recovery.line_pictures import picture_lines
from launch.recovery.recovered import Recovered
from launch.recovery.shared_camera import SharedCamera
from launch.viewer import maps
from launch.viewer.drawings import Thumbnail
from launch.viewer.maps import Entry, MapView, Values
from launch.viewer.panel import BACK, PAGE, Panel
from launch.viewer.scene import Scene
from train3d_jax import chunking
from train3d_jax.errors import UserError
from train3d_jax.evidence.fusion import Method
from train3d_jax.inference.estimates import Estimate
from train3d_jax.inference.models import Model, check_models

FRAMES, FRAME_SECONDS = 20, 0.03
"""Of the glide from the sliders' values to an estimate; chosen."""

BY_HAND = "by hand"
"""In an answer's JSON, in place of the digest of settings, where the user set a value."""


@dataclasses.dataclass(frozen=True)
class ViewerContext:
    """What all windows share.

    Attributes:
      entries: the maps.
      config: how to read, recover and save them.
      models: networks.
      named: the geometric method is compared with the networks, as in launch.infer where --model
        is given.
      truth: the maps' truth is known.
      listing: the files of the maps, and which are frames of a clip; None without files.
    """

    entries: Sequence[Entry]
    config: RecoveryConfig
    models: Sequence[Model]
    named: bool
    truth: bool
    listing: Listing | None = None
    _pooling: threading.Lock = dataclasses.field(default_factory=threading.Lock)
    _pooled: dict[tuple[str, Method], SharedCamera] = dataclasses.field(default_factory=dict)

    @property
    def at_once(self) -> int:
        """Maps that one program computes: as in launch.infer, whose digits are shown.

        Maps of a prepared set are never recovered there.
        """
        return 1 if self.truth else chunking.maps_at_once(len(self.entries))

    def methods(self) -> list[Method]:
        """The methods that can run, the default first."""
        return list(METHODS if self.models else ("geometric",))

    def shared_by(self, file: DepthFile, method: Method) -> SharedCamera | None:
        """The camera of the clip that a map is a frame of, pooled once; None for other maps.

        Raises:
          UserError: no frame of the clip can be solved.
        """
        if self.listing is None or file.name not in self.listing.clips:
            return None
        clip = self.listing.clips[file.name]
        with self._pooling:
            if (clip, method) not in self._pooled:
                frames = frames_by_clip(self.listing.files, self.listing.clips)[clip]
                config = dataclasses.replace(self.config, method=method)
                shared = one_map.pooled(frames, clip, config, self.models_for(method))
                self._pooled[clip, method] = shared
        return self._pooled[clip, method]

    def models_for(self, method: Method) -> Sequence[Model]:
        """The networks that launch.infer uses with a method."""
        return self.models if method != "geometric" or self.named else ()


class Result(NamedTuple):
    """A recovered map, and how it was recovered: all that is needed to write it.

    Attributes:
      recovered: the map and its estimate.
      config: settings of the recovery.
      origin: of the answer.
      source: the method and networks, as text.
    """

    recovered: Recovered
    config: RecoveryConfig
    origin: one_map.Origin
    source: str

    @property
    def estimate(self) -> Estimate:
        """The estimate, which every result has."""
        assert self.recovered.estimate is not None
        return self.recovered.estimate


class Window:
    """From the moment a browser's window opens until it closes."""

    def __init__(self, client: viser.ClientHandle, context: ViewerContext):
        self._context = context
        self._uploads: list[Entry] = []
        self._uploaded = tempfile.TemporaryDirectory(prefix="train3d_view_")
        self._tasks = _Tasks(self._failed)
        self._view: MapView | None = None
        self._values = Values(1.0, 0.0)
        self._result: Result | None = None
        self._at_result = self._touched = False
        self._chosen = 0
        disparity = context.config.space == "disparity"
        self._panel = Panel(client, context.methods(), disparity, context.truth)
        self._scene = Scene(client)
        self._connect()
        self._choose(0)

    def close(self) -> None:
        """Ends the window's thread and leaves nothing behind."""
        self._tasks.end()
        self._uploaded.cleanup()

    def _connect(self) -> None:
        panel, ask = self._panel, self._tasks.ask

        def dragged(event: viser.GuiEvent) -> None:
            if event.client is not None:  # else it was moved from here
                self._touched = True
                slider = event.target
                ask("fov" if slider is panel.fov else "shift", lambda: self._follow(slider))

        panel.fov.on_update(dragged)
        panel.shift.on_update(dragged)
        panel.recover.on_click(lambda _: ask("recover", self._recover))
        panel.true.on_click(lambda _: ask("true", self._go_to_truth))
        panel.save.on_click(lambda _: ask("save", self._save))
        panel.show.on_click(lambda _: ask("show", lambda: self._scene.choose(panel.show.value)))
        panel.view.on_click(lambda _: ask("view", lambda: self._scene.look_from(panel.view.value)))
        panel.walk.on_click(lambda _: self._walk(-1 if panel.walk.value == BACK else 1))
        panel.upload.on_upload(lambda _: ask("upload", self._take_upload))
        for key, step in zip(panel.keys[:2], (-1, 1), strict=True):
            key.on_trigger(lambda _, step=step: self._walk(step))
        for number, key in enumerate(panel.keys[2:]):
            key.on_trigger(lambda _, n=number: self._choose(self._chosen // PAGE * PAGE + n))

    def refuse(self, text: str) -> None:
        """Shows on the page why something is not done."""
        self._panel.show_message(text, refused=True)

    def _failed(self, error: Exception) -> None:
        if isinstance(error, UserError):
            self.refuse(program.message(error))
        elif isinstance(error, MemoryError):
            self.refuse("needs more memory than there is")
        elif isinstance(error, OSError):
            self.refuse(str(error))
        else:
            traceback.print_exception(error)
            self.refuse("failed; the terminal of launch.view shows the error")

    # The list.

    def _entries(self) -> list[Entry]:
        return [*self._context.entries, *self._uploads]

    def _walk(self, step: int) -> None:
        self._choose(self._chosen + step)

    def _choose(self, index: int) -> None:
        if 0 <= index < len(self._entries()):
            self._chosen = index
            self._touched = True
            self._tasks.ask("open", self._open)

    def _open(self) -> None:
        entry = self._entries()[self._chosen]
        self._view, self._result, self._at_result = None, None, False
        self._scene.clear()
        self._panel.clear()
        self._panel.show_message(f"reading {entry.name} ...")
        self._tasks.ask("list", self._list)
        view = MapView(entry, self._context.config)
        self._values = view.first_guess
        self._panel.put(view, self._values)
        self._scene.show(view, self._values)
        self._view = view
        height, width = view.size
        self._panel.show_message(f"{view.name}: {width} x {height} pixels")
        self._draw(moved=False)
        self._panel.show_lines(picture_lines(view.map, self._values.focal, None))

    def _list(self) -> None:
        entries, first = self._entries(), self._chosen // PAGE * PAGE
        page = entries[first : first + PAGE]
        shown = [Thumbnail(entry.name, maps.thumbnail(entry)) for entry in page]
        place = f"{first + 1} to {first + len(page)} of {len(entries)}"
        self._panel.fill_list(shown, self._chosen - first, place)

    def _take_upload(self) -> None:
        sent = self._panel.upload.value
        folder = Path(self._uploaded.name) / str(len(self._uploads))
        entry = maps.entry_of_upload(folder, sent.name, sent.content, self._context.config)
        entry.read()  # one that is refused is not kept in the list
        self._uploads.append(entry)
        self._choose(len(self._entries()) - 1)

    # The values.

    def _shown_map(self) -> MapView:
        if self._view is None:
            raise UserError("there is no map to do this with; choose another one")
        return self._view

    def _follow(self, slider: viser.GuiInputHandle) -> None:
        """Takes a slider's value; the other one's may be finer than its slider."""
        if self._view is None:
            return
        if slider is self._panel.fov:
            values = self._values._replace(focal=self._view.focal(slider.value))
        else:
            values = self._values._replace(shift=slider.value)
        self._values, self._at_result = values, False
        self._draw()

    def _draw(self, moved: bool = True) -> None:
        view, values = self._shown_map(), self._values
        last = None if self._result is None else self._result.estimate
        source, estimate = "set by hand", view.as_estimate(values)
        if self._result is not None and self._at_result:
            source, estimate = self._result.source, self._result.estimate
        if moved:
            self._scene.move(view, values)
        self._panel.draw(view, values, source, estimate, last, view.errors(values))

    def _glide(self, target: Values) -> bool:
        """Moves the sliders to a place; False where the user moved one meanwhile."""
        view, start = self._shown_map(), self._values
        self._touched = False
        for frame in range(1, FRAMES + 1):
            part = (frame / FRAMES) ** 2 * (3 - 2 * frame / FRAMES)
            fov, end = view.fov(start.focal), view.fov(target.focal)
            shift = start.shift + part * (target.shift - start.shift)
            self._values = Values(view.focal(fov + part * (end - fov)), shift)
            self._panel.put(view, self._values)
            self._draw()
            time.sleep(FRAME_SECONDS)
            if self._touched or self._tasks.ended:
                return False
        self._values = target
        return True

    def _go_to_truth(self) -> None:
        view = self._shown_map()
        if view.truth is None:
            raise UserError(f"{view.name}: its truth is not known")
        self._at_result = False
        self._glide(view.truth)
        self._draw()

    # Answers.

    def _recover(self) -> None:
        focal_known, shift_known = self._panel.fov_known.value, self._panel.shift_known.value
        if focal_known and shift_known:
            raise UserError("both are known, so nothing is left to recover; free one of them")
        self._shown_map()
        method = cast(Method, self._panel.method.value)
        self._panel.show_message(f"recovering ({method}) ...")
        self._at_result = False
        self._result = result = self._solve(method, focal_known, shift_known)
        recovered = result.recovered
        if recovered.map is not None:
            found = picture_lines(recovered.map, result.estimate.focal, recovered.lines)
            self._panel.show_lines(found)
        if self._glide(Values(result.estimate.focal, result.estimate.shift)):
            self._at_result = True
        self._draw()
        self._panel.show_message(f"{recovered.file.label}: recovered")

    def _solve(self, method: Method, focal_known: bool, shift_known: bool) -> Result:
        view, values = self._shown_map(), self._values
        shown, camera = view.map, self._context.config.camera
        if focal_known:
            camera = KnownCamera(focal_px=values.focal)
            shown = shown.with_hints(camera.hints(shown.file, view.size))
        elif shared := self._context.shared_by(shown.file, method):
            if shift_known:
                shared = dataclasses.replace(shared, offset=None, shifts=None)
            shown = shown._replace(shared=shared)
        models = self._context.models_for(method)
        saving = maps.saving_of(view.map.file, self._context.config)
        config = dataclasses.replace(
            self._context.config, method=method, camera=camera, saving=saving
        )
        check_models(models, config.space, camera.is_known, shift_known, method)
        shift = values.shift if shift_known else None
        (recovered,) = one_map.solve(
            [shown], config, models, known_shift=shift, at_once=self._context.at_once
        )
        if recovered.error is not None:
            raise UserError(f"{view.name}: {recovered.error}")
        origin = one_map.origin_of(config, models)
        if shift_known:
            origin = origin._replace(settings=BY_HAND)
        if shift_known and focal_known:
            origin = origin._replace(method=BY_HAND)
        source = f"recovered: {method}" + (f", {origin.model}" if origin.model else "")
        return Result(recovered, config, origin, source)

    def _save(self) -> None:
        self._shown_map()
        result = self._result if self._at_result else None
        if result is None:
            result = self._solve(self._context.methods()[0], True, True)
        recovered, config = result.recovered, result.config
        one_map.write(recovered, config, result.origin)
        endings = [".json", *(ENDINGS[kind] for kind in config.saving.kinds)]
        name = config.out / recovered.file.name
        self._panel.show_message(f"saved as {name}{', '.join(endings)}")


class _Tasks:
    """A thread for the tasks of a window; of those of one kind that wait, the latest runs.

    Args:
      failed: is called with the exception of a task.
    """

    def __init__(self, failed: Callable[[Exception], None]):
        self._failed = failed
        self._thread = ThreadPoolExecutor(1)
        self._lock = threading.Lock()
        self._waiting: dict[str, Callable[[], None]] = {}
        self.ended = False

    def ask(self, kind: str, task: Callable[[], None]) -> None:
        with self._lock:
            if self.ended:
                return
            waits = kind in self._waiting
            self._waiting[kind] = task
            if not waits:
                self._thread.submit(self._run, kind)

    def end(self) -> None:
        with self._lock:
            self.ended = True
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _run(self, kind: str) -> None:
        with self._lock:
            task = self._waiting.pop(kind)
        try:
            task()
        except Exception as error:
            if not self.ended:
                self._failed(error)
