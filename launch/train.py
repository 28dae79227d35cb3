"""Trains a point-set encoder on prepared sets, and writes a run that `launch.infer` restores.

    python -m launch.train --data prepared --model_name both --targets 0,2

Stopped by Ctrl-C or SIGTERM it saves first; the same command started again goes on to the bit.
"""

import contextlib
from importlib import metadata
from pathlib import Path
from typing import Any

from absl import flags

from data.loading import pipeline
from data.prepared.prepared_set import PreparedSet
from launch import compiled, compiling, program
from launch.training import flags as train_flags
from launch.training import processes, run_data
from train3d_jax import locks
from train3d_jax.files import write_whole
from train3d_jax.storage import checkpoint
from train3d_jax.training import loop
from train3d_jax.training import trainer as training
from train3d_jax.training.run_log import RunLog, Silence
from train3d_jax.training.trainer import TrainingConfig

flags.adopt_module_key_flags(train_flags)
flags.adopt_module_key_flags(processes)

LIBRARIES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "grain", "numpy")


def main() -> int:
    """From flags to a run."""
    compiled.keep()
    with processes.together():
        return train(train_flags.configuration())


def train(config: TrainingConfig) -> int:
    """Trains a run, or goes on with it; the exit status."""
    run = Path(train_flags.WORKDIR.value) / train_flags.MODEL_NAME.value
    sets = [PreparedSet(path) for path in train_flags.DATA.value]
    train_split, mix = train_flags.TRAIN_SPLIT.value, train_flags.numbers(train_flags.MIX.value)
    train_part, validation_part = pipeline.split_sets(sets, train_split, config.seed)
    size, batch_size, space = sum(map(len, train_part)), config.batch_size, config.clouds.space
    steps_per_epoch = size // batch_size
    part = processes.part_of(batch_size)

    def batches_from(step: int) -> Any:
        return pipeline.training_batches(
            train_part, mix or None, batch_size, space,
            config.seed, train_flags.num_workers(), start=step * batch_size,
            crop="crop" in config.augmentation, mirror="mirror" in config.augmentation, part=part,
        )  # fmt: skip

    batches_from(0)  # refuses too few samples before anything is written
    validation_size = sum(map(len, validation_part))
    plan = loop.Plan(
        total=config.total_steps(size),
        evaluate_every=train_flags.EVALUATE_EVERY.value or steps_per_epoch,
        save_every=train_flags.SAVE_EVERY.value,
        record_every=train_flags.PRINT_EVERY.value,
    )
    begin_with = train_flags.INIT_FROM.value
    params = begin_with and checkpoint.params_of_other_run(Path(begin_with), config)
    described = run_data.describe(train_part, validation_part, train_split, mix)
    with contextlib.ExitStack() as stack:
        if processes.is_first():
            stack.enter_context(locks.hold(run, "trains"))
        checkpoint.refuse_other_settings(run, config)
        run_data.refuse_other(run, described)
        if processes.is_first():
            libraries = {name: metadata.version(name) for name in LIBRARIES}
            checkpoint.save_config(run, config, {**described, "libraries": libraries})
            write_whole(run / "run.flags", program.flags_of_this_program(processes.FLAGS).encode())
        checkpoints = stack.enter_context(checkpoint.Checkpoints(run))
        stop = stack.enter_context(program.stop_when_asked())
        asked = (config, described["data"], described["split"], plan, checkpoints.last_step)
        processes.refuse_different(asked, run / "run.flags")
        state = training.initial_state(config, plan.total, params)
        state = checkpoints.resume(training.place_state(state, training.device_mesh(batch_size)))
        step = int(state.step)
        tell(
            f"{run}: {size} samples to train on, {validation_size} to validate, "
            f"{plan.total} steps" + (f", going on from step {step}" if step else "")
        )
        with (
            RunLog(run, config, step, plan.total, train_flags.LOGS.value)
            if processes.is_first()
            else Silence() as log,
            compiling.shown_on(log.bar),
            contextlib.closing(iter(batches_from(step))) as batches,
        ):
            state = loop.run_training(
                config,
                state,
                batches,
                (lambda: pipeline.validation_batches(validation_part, batch_size, space, part))
                if validation_size
                else None,
                plan,
                checkpoints,
                log,
                lambda numbers: pipeline.sample_names(train_part, numbers),
                processes.agreed(stop),
            )
            log.draw_curves()
    if int(state.step) < plan.total:
        tell(f"{run}: stopped at step {int(state.step)}; the same command goes on from there")
        return stop.exit_status
    tell(f"{run}: done; use it with: python -m launch.infer --model {run} --input ... --out ...")
    return 0


def tell(text: str) -> None:
    """Prints it, once however many processes there are."""
    if processes.is_first():
        print(text)


if __name__ == "__main__":
    program.run(main)
