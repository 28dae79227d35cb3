"""The controls of the viewer's page and their contents; what they do is in `window`."""

from collections.abc import Sequence

import numpy as np
import viser

from launch.viewer import drawings
from launch.viewer.drawings import Curve, Thumbnail
from launch.viewer.maps import Errors, MapView, Values
from launch.viewer.scene import KINDS, SIDE_BY_SIDE, VIEWS
from train3d_jax.evidence.fusion import Method
from train3d_jax.inference.estimates import Estimate
from train3d_jax.pictures.line_drawings import PictureLines

FOVS, SHIFTS = (10.0, 150.0), (-0.49, 1.5)
"""Ends of the sliders: degrees across, canonical units.  Chosen; estimates beyond them are shown in
figures only."""

PAGE = 6
"""Maps of the list that are shown at once, and number of keys that choose one of them; chosen."""

BACK, ON = "< previous (P)", "next (N) >"

_ALONG = 160
"""Points of a curve under a slider; chosen, about one for each two pixels."""


class Panel:
    """The controls of one window.

    Attributes:
      fov, shift: sliders.
      fov_known, shift_known: check boxes that fix them.
      method: of recovery.
      recover, save, true, upload: buttons; `true` is visible where the truth is known.
      walk: the buttons `BACK` and `ON`.
      keys: commands of the keys for `BACK`, `ON` and each map of a page of the list.
      show, view: what is shown, and from where.
    """

    def __init__(
        self, client: viser.ClientHandle, methods: Sequence[Method], disparity: bool, truth: bool
    ):
        gui = client.gui
        self._disparity = disparity
        self._message = gui.add_html("")
        with gui.add_folder("View"):
            kinds = KINDS if truth else KINDS[:2]
            self.show = gui.add_button_group("Show", (SIDE_BY_SIDE, *kinds))
            self.view = gui.add_button_group("From", VIEWS)
        with gui.add_folder("Maps"):
            self._list = gui.add_html("")
            self.walk = gui.add_button_group("Go to", (BACK, ON))
            self.upload = gui.add_upload_button("Open a depth map of yours")
        with gui.add_folder("Straighten"):
            self.fov = gui.add_slider("Field of view", *FOVS, step=0.01, initial_value=60.0)
            self._fov_strip = gui.add_html("")
            self.fov_known = gui.add_checkbox(
                "Focal known", False, hint="Only the shift is recovered"
            )
            self.shift = gui.add_slider("Shift", *SHIFTS, step=0.001, initial_value=0.0)
            self._shift_strip = gui.add_html("")
            self.shift_known = gui.add_checkbox(
                "Shift known", False, hint="Only the focal length is recovered"
            )
            self.method = gui.add_dropdown("Method", tuple(methods))
            self.recover = gui.add_button("Recover", hint="What is not known, as launch.infer")
            self.true = gui.add_button("Go to the truth", visible=truth)
            self.save = gui.add_button("Save", hint="The JSON and the files of --save")
            self._table = gui.add_html("")
        with gui.add_folder("Lines of the picture", visible=False) as self._pictured:
            self._lines = gui.add_html("")
        self.keys = [
            gui.add_command("Previous map", hotkey="P"),
            gui.add_command("Next map", hotkey="N"),
            *(gui.add_command(f"Map {n} of the list", hotkey=str(n)) for n in range(1, PAGE + 1)),  # pyright: ignore
        ]

    def show_message(self, text: str, refused: bool = False) -> None:
        """Shows what is being done, or why something could not be done."""
        self._message.content = drawings.message(text, refused)

    def fill_list(self, shown: Sequence[Thumbnail], chosen: int, place: str) -> None:
        """Shows a page of the list, see `drawings.thumbnails`."""
        self._list.content = drawings.thumbnails(shown, chosen, place)

    def put(self, view: MapView, values: Values) -> None:
        """Moves the sliders."""
        self.fov.value = float(np.clip(view.fov(values.focal), *FOVS))
        self.shift.value = float(np.clip(values.shift, *SHIFTS))

    def clear(self) -> None:
        """Shows no values: there is no map."""
        for part in (self._fov_strip, self._shift_strip, self._table):
            part.content = ""
        self.show_lines(None)

    def show_lines(self, lines: PictureLines | None) -> None:
        """Shows the lines of the map's picture; nothing where None, as no picture counts."""
        self._pictured.visible = lines is not None
        self._lines.content = "" if lines is None else drawings.lines_picture(lines)

    def draw(
        self,
        view: MapView,
        values: Values,
        source: str,
        estimate: Estimate,
        last: Estimate | None,
        errors: Errors | None,
    ) -> None:
        """Shows the values beside the scores of geometry, the last estimate and the truth.

        Args:
          view: the map.
          values: where the sliders are.
          source: where the values are from, as text.
          estimate: the values, as an estimate.
          last: the last estimate of this map, whose intervals are drawn; None where there is none.
          errors: None where the truth is not known.
        """
        fovs, shifts = (np.linspace(*limits, _ALONG) for limits in (FOVS, SHIFTS))
        focals = np.array([view.focal(fov) for fov in fovs])
        right = float(view.right(values.shift, values.focal))
        angles = Curve("right angles", drawings.RIGHT, view.right(values.shift, focals), right)
        if self._disparity:  # no shift bends a plane there; angles depend on both values
            along = np.array([view.right(shift, values.focal) for shift in shifts])
            planes = Curve("right angles", drawings.RIGHT, along, right)
        else:
            flat = float(view.flat(values.shift))
            planes = Curve("flat planes", drawings.FLAT, view.flat(shifts), flat)
        spread = shift_spread = None
        if last is not None:
            low, high = last.focal_interval
            spread, shift_spread = (view.fov(high), view.fov(low)), last.shift_interval
        true_fov = None if view.truth is None else view.fov(view.truth.focal)
        true_shift = None if view.truth is None else view.truth.shift
        self._fov_strip.content = drawings.strip(
            FOVS, view.fov(values.focal), [angles], spread, true_fov
        )
        self._shift_strip.content = drawings.strip(
            SHIFTS, values.shift, [planes], shift_spread, true_shift
        )
        texts = drawings.error_texts(errors)
        lines = drawings.lines_of(estimate, view.fov, texts, recovered=estimate is last)
        self._table.content = drawings.table(source, lines, errors, (*estimate.flags, *view.flags))
