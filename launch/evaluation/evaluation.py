"""A whole evaluation: sets and models are loaded, views measured or merged, the report written."""

from typing import NamedTuple

from data.user_maps.true_maps import TrueMaps
from launch.evaluation import shards, summary, tables
from launch.evaluation.config import CURVES, REPORT, TABLE, VIEWS, EvaluationConfig
from launch.evaluation.methods import Methods
from launch.evaluation.run import evaluate
from launch.evaluation.worst import draw_worst
from train3d_jax.files import write_whole
from train3d_jax.inference import models as networks
from train3d_jax.pictures.curves import render_error_curves


class Outcome(NamedTuple):
    """How an evaluation ended.

    Attributes:
      text: for the terminal.
      failed: maps, and pictures of maps, that could not be read.
    """

    text: str
    failed: int


def evaluate_sets(config: EvaluationConfig) -> Outcome:
    """Evaluates all sets, or a shard of them, and writes the results to `config.out`.

    Raises:
      UserError: the settings name something that is not there, before any work; or no map of a set
        can be evaluated.
    """
    config.check_out()
    sets = [TrueMaps(path) for path in config.data]
    models = [networks.load_model(run, config.space) for run in config.runs]
    if models:
        networks.check_models(models, config.space, focal_known=False)
    methods = Methods(models, config.space, config.views * sum(map(config.maps_of, sets)))
    digests = [f"{model.name} {model.digest}" for model in models]
    config.make_out()
    evaluated = (
        shards.load(config, digests) if config.merge else list(evaluate(config, sets, methods))
    )
    if config.shard:
        path = shards.save(config, config.shard, digests, evaluated)
        return Outcome(f"{path}: shard {config.shard} is measured; --merge joins all", 0)

    names = [model.name for model in models]
    report = summary.report(config, methods.rows, names, evaluated)
    table = tables.as_table(report)
    curves = render_error_curves(summary.curves(methods.rows, evaluated))
    config.clear_out()
    draw_worst(config, sets, evaluated, methods)
    write_whole(config.out / CURVES, curves)
    write_whole(config.out / VIEWS, summary.as_csv(methods.rows, evaluated))
    write_whole(config.out / TABLE, f"{table}\n".encode())
    write_whole(config.out / REPORT, summary.as_json(report))  # last: it vouches for the others
    failed = sum(result.failed for result in evaluated)
    views = report["overall"]["views"]
    closing = f"{views} views evaluated, {failed} maps failed"
    unread = report["overall"].get("lines", {}).get("unreadable_pictures", 0)
    if unread:
        closing += f", {unread} pictures cannot be read"
    closing += f"; see {TABLE} and {CURVES}"
    return Outcome(f"{table}\n{config.out}: {closing}", failed + unread)
