"""One training run: data, checkpoints and log are opened, then the loop runs until its end."""

import contextlib
from collections.abc import Iterator
from importlib import metadata

import grain

from data.loading import pipeline, splits
from data.prepared.prepared_set import PreparedSet
from launch import compiling, program
from launch.training import process_flags, processes, run_data
from launch.training.config import RunSettings
from train3d_jax import locks
from train3d_jax.files import write_whole
from train3d_jax.inference.models import begin_with
from train3d_jax.storage import checkpoint, run_config
from train3d_jax.training import loop, trainer
from train3d_jax.training.config import TrainingConfig
from train3d_jax.training.examples import Batch
from train3d_jax.training.run_log import RunLog, Silence

LIBRARIES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "grain", "numpy")
"""Whose versions config.json keeps."""


def train(config: TrainingConfig, settings: RunSettings) -> int:
    """Trains a run, or goes on with it; returns the exit status.

    Raises:
      UserError: the data do not fit, the run was begun with other settings, or another process
        trains it.
    """
    run, batch_size, space = settings.folder, config.batch_size, config.clouds.space
    sets = [PreparedSet(path) for path in settings.data]
    train_part, validation_part = splits.split_sets(sets, settings.train_split, config.seed)
    size, validation_size = sum(map(len, train_part)), sum(map(len, validation_part))
    part = processes.part_of(batch_size)

    def batches_from(step: int) -> grain.IterDataset:
        return pipeline.training_batches(
            train_part, settings.mix or None, batch_size, space, config.seed,
            settings.num_workers, start=step * batch_size, crop="crop" in config.augmentation,
            mirror="mirror" in config.augmentation, part=part,
        )  # fmt: skip

    def validation_batches() -> Iterator[Batch]:
        return pipeline.validation_batches(validation_part, batch_size, space, part)

    batches_from(0)  # refuses too few samples before anything is written
    plan = loop.Plan(
        total=config.total_steps(size),
        evaluate_every=settings.evaluate_every or size // batch_size,
        save_every=settings.save_every,
        record_every=settings.record_every,
    )
    params = None
    if settings.init_from is not None:
        config, params = begin_with(settings.init_from, config)
    described = run_data.describe(train_part, validation_part, settings.train_split, settings.mix)
    with contextlib.ExitStack() as stack:
        if processes.is_first():
            stack.enter_context(locks.hold(run, "trains"))
        run_config.refuse_other_settings(run, config)
        run_data.refuse_other(run, described)
        if processes.is_first():
            libraries = {name: metadata.version(name) for name in LIBRARIES}
            run_config.save_config(run, config, {**described, "libraries": libraries})
            given = program.flags_of_this_program(process_flags.FLAGS)
            write_whole(run / "run.flags", given.encode())
        checkpoints = stack.enter_context(checkpoint.Checkpoints(run))
        stop = stack.enter_context(program.stop_when_asked())
        asked = (config, described["data"], described["split"], plan, checkpoints.last_step)
        processes.refuse_different(asked, run / "run.flags")
        state = trainer.initial_state(config, plan.total, params)
        state = checkpoints.resume(trainer.place_state(state, trainer.device_mesh(batch_size)))
        step = int(state.step)
        _print_once(
            f"{run}: {size} samples to train on, {validation_size} to validate, "
            f"{plan.total} steps" + (f", going on from step {step}" if step else "")
        )
        with (
            RunLog(run, config, step, plan.total, settings.events)
            if processes.is_first()
            else Silence() as log,
            compiling.shown_on(log.bar),
            contextlib.closing(iter(batches_from(step))) as batches,
        ):
            state = loop.run_training(
                config,
                state,
                batches,
                validation_batches if validation_size else None,
                plan,
                checkpoints,
                log,
                lambda numbers: splits.sample_names(train_part, numbers),
                processes.agreed(stop),
            )
            log.draw_curves()
    if int(state.step) < plan.total:
        _print_once(
            f"{run}: stopped at step {int(state.step)}; the same command goes on from there"
        )
        return stop.exit_status
    infer = program.as_typed("python -m launch.infer")
    _print_once(f"{run}: done; use it with: {infer} --model {run} --input ... --out ...")
    return 0


def _print_once(text: str) -> None:
    """Prints in one of several processes."""
    if processes.is_first():
        print(text)
