"""What launch.infer says about flags, and --space=guess: in words that name the way out."""

import numpy as np
import pytest
from box_rooms import box_room
from test_forms import in_form

from data.user_maps.depth_files import find_depth_files
from launch.recovery import notes, space_guess
from launch.recovery.summary import Counts, Outcome
from train3d_jax.errors import UserError
from train3d_jax.evidence import forms
from train3d_jax.formats.depth import ReadSettings, read_depth_file
from train3d_jax.inference import map_checks
from train3d_jax.inference.map_checks import MapCheck


def check_of(number=0, negative=False, repeated=()):
    return MapCheck(np.eye(4)[number], negative, repeated, ())


@pytest.mark.parametrize("number", range(4))
@pytest.mark.parametrize("negated", [False, True])
def test_the_flags_that_are_suggested_read_the_map_right(number, negated):
    form = forms.FORMS[number]
    note = notes.notes_of(check_of(number), negated)["near_far_swapped"]
    assert f"--space={forms.space_of(form)}" in note.remedy and form in note.problem
    negate = "--negate" in note.remedy and "without --negate" not in note.remedy
    assert negate == (forms.is_inverted(form) != negated)


def test_a_map_of_negative_values_is_named_as_one():
    note = notes.notes_of(check_of(2, negative=True), False)["near_far_swapped"]
    assert "below 0" in note.problem and "OpenGL" in note.problem
    assert "--space=depth --negate" in note.remedy


@pytest.mark.parametrize("negated", [False, True])
@pytest.mark.parametrize("value", [-1.0, -9999.0, 1e-6, 1e10, 65504.0, 0.1])
def test_the_value_to_leave_out_is_printed_so_that_it_is_left_out(tmp_path, value, negated):
    room = box_room(0)[0]
    stored = np.where(np.arange(room.size).reshape(room.shape) % 7 == 0, value, room)
    np.save(tmp_path / "map.npy", stored.astype(np.float32))
    read = read_depth_file(tmp_path / "map.npy", ReadSettings(negate=negated))
    repeated = map_checks.repeated_extremes(read, read != 0)
    note = notes.notes_of(check_of(repeated=repeated), negated)["repeated_value"]
    assert "14 % of its pixels are exactly" in note.problem
    output = note.remedy.split("--invalid=")[1]
    settings = ReadSettings(invalid=(float(output),), negate=negated)
    missing = read_depth_file(tmp_path / "map.npy", settings) == 0
    np.testing.assert_array_equal(missing, stored == value)


def test_the_closing_line_counts_what_is_flagged_and_what_is_not_read():
    outcome = Outcome(
        Counts(27, 4, 3), 4, {"solver_disagrees": 3, "near_planar": 1}, {".mat": 2, ".h5": 1}
    )
    assert notes.closing(outcome) == (
        "27 recovered (3 by an earlier run; 4 flagged: 3 solver_disagrees, 1 near_planar), "
        "4 failed, 3 files not read: 2 .mat, 1 .h5"
    )
    assert notes.closing(Outcome(Counts(2, 0, 0), 0, {})) == "2 recovered, 0 failed"


def write(folder, form, count=6):
    folder.mkdir()
    for seed in range(count):
        np.save(folder / f"{seed}.npy", in_form(box_room(seed)[0], form))
    return find_depth_files(folder)


@pytest.mark.parametrize("form", forms.FORMS)
def test_the_form_of_a_folder_is_guessed_from_all_of_its_maps(tmp_path, form):
    files = write(tmp_path / "maps", form)
    (tmp_path / "maps" / "0.npy").write_bytes(b"damaged")  # is left to the recovery to report
    found = space_guess.guess(files, ReadSettings())
    assert found.space == forms.space_of(form)
    assert found.reading.negate == forms.is_inverted(form)
    assert form in found.text and "of 5 maps" in found.text
    # Read as the guess says, nothing more is to be changed.
    again = space_guess.guess(files, found.reading)
    assert (again.space, again.reading) == (found.space, found.reading)


def test_a_guess_that_is_not_sure_or_has_nothing_to_go_by_is_an_error(tmp_path, monkeypatch):
    files = write(tmp_path / "maps", "depth", count=2)
    undecided = np.log([[0.5, 0.4, 0.05, 0.05]] * 2)
    monkeypatch.setattr(map_checks, "form_evidence", lambda *_: undecided)
    with pytest.raises(UserError, match=r"--space=guess: .*of 2 maps.*--space=depth or"):
        space_guess.guess(files, ReadSettings())
    for file in files:
        file.path.write_bytes(b"damaged")
    with pytest.raises(UserError, match=r"--space=guess: .*no map.*\.npy"):
        space_guess.guess(files, ReadSettings())
