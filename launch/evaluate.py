"""Measures how well shift and focal length are recovered, on depth maps whose truth is known.

    python -m launch.evaluate --data SET,SET --model runs/both --out evaluated

SET is a prepared set, or a folder with a manifest.json of depth maps and their cameras.  Maps are
cropped about the principal point and given an unknown scale and shift; the camera is not told.
What networks, geometry and plain constants answer is compared with the truth.
"""

from pathlib import Path
from typing import cast

from absl import flags

from data.user_maps.true_maps import TrueMaps
from launch import compiled, program
from launch.evaluation import shards as evaluation_shards
from launch.evaluation import summary as evaluation_summary
from launch.evaluation.config import CURVES, REPORT, TABLE, VIEWS, EvaluationConfig
from launch.evaluation.methods import Methods
from launch.evaluation.run import draw_worst, evaluate
from launch.recovery.shards import shard_of
from train3d_jax.files import write_whole
from train3d_jax.geometry.affine import Space
from train3d_jax.inference.models import DEFAULT, check_models, load_model
from train3d_jax.pictures import plots as pictures

_DATA = flags.DEFINE_list(
    "data", None, "Prepared sets, and folders with a manifest.json.", required=True
)
_OUT = flags.DEFINE_string("out", None, "Folder for the results.", required=True)
_MODEL = flags.DEFINE_list(
    "model", [DEFAULT], "Runs of launch.train that together cover shift and focal length; default "
    "for the weights that come along; --model= leaves geometry and constants.",
)  # fmt: skip
_SPACE = flags.DEFINE_enum(
    "space", "depth", ["depth", "disparity"], "What methods are given, up to scale and shift."
)
_CROP = flags.DEFINE_bool(
    "crop", True, "Crop maps about their principal point to 50 to 100 %; or take them whole."
)
_CROPS = flags.DEFINE_integer("crops", 4, "Cropped views of each map.", lower_bound=1)
_NOISE = flags.DEFINE_float(
    "noise", 0.0, "White noise on the depth of each pixel, relative: 0.01 for 1 %.",
    lower_bound=0.0, upper_bound=1.0,
)  # fmt: skip
_SEED = flags.DEFINE_integer(
    "seed", 0, "Of crops, distortions, points and resamples.", lower_bound=0
)
_MAX_MAPS = flags.DEFINE_integer(
    "max_maps", 0, "Maps of each set, evenly spread; 0 takes all.", lower_bound=0
)
_BATCH_SIZE = flags.DEFINE_integer(
    "batch_size", 16, "Views made ahead while others are solved; changes no number.", lower_bound=1
)
_WORST = flags.DEFINE_integer("worst", 10, "Pictures of the worst views.", lower_bound=0)
_SHARD = flags.DEFINE_string(
    "shard", None, "2/8: measure the second of eight parts, here or elsewhere; then --merge."
)
_MERGE = flags.DEFINE_bool(
    "merge", False, "Tell the results of all shards that were measured with the same flags."
)


def main() -> int:
    """From flags to a folder of results; the exit status is 1 where a map failed."""
    compiled.start()
    config = EvaluationConfig(
        tuple(Path(path) for path in _DATA.value),
        Path(_OUT.value),
        tuple(Path(run) for run in _MODEL.value),
        cast(Space, _SPACE.value),
        _CROP.value,
        _CROPS.value,
        _NOISE.value,
        _SEED.value,
        _MAX_MAPS.value,
        _BATCH_SIZE.value,
        _WORST.value,
        shard_of(_SHARD.value, _MERGE.value),
        _MERGE.value,
    )
    config.check_out()
    sets = [TrueMaps(path) for path in config.data]
    models = [load_model(run, config.space) for run in config.runs]
    if models:
        check_models(models, config.space, focal_known=False)
    methods, names = Methods(models, config.space), [model.name for model in models]
    networks = [f"{model.name} {model.digest}" for model in models]
    config.make_out()
    if config.merge:
        evaluated = evaluation_shards.load(config, networks)
    else:
        evaluated = list(evaluate(config, sets, methods))
    if config.shard:
        path = evaluation_shards.save(config, config.shard, networks, evaluated)
        print(f"{path}: shard {config.shard} is measured; --merge tells of all")
        return 0

    told = evaluation_summary.report(config, methods.rows, names, evaluated)
    table = evaluation_summary.as_table(told)
    curves = pictures.render_error_curves(evaluation_summary.curves(methods.rows, evaluated))
    config.clear_out()
    draw_worst(config, sets, evaluated, methods)
    write_whole(config.out / CURVES, curves)
    write_whole(config.out / VIEWS, evaluation_summary.as_csv(methods.rows, evaluated))
    write_whole(config.out / TABLE, f"{table}\n".encode())
    write_whole(config.out / REPORT, evaluation_summary.as_json(told))  # last: it vouches for all
    print(table)
    failed = sum(result.failed for result in evaluated)
    views = told["overall"]["views"]
    print(f"{config.out}: {views} views evaluated, {failed} maps failed; see {TABLE} and {CURVES}")
    return program.EXIT_SOME_FAILED if failed else 0


if __name__ == "__main__":
    program.run(main)
