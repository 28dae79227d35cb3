"""One training step and its parts, on a fixed batch, and the rate that the machine would allow."""

import functools
import itertools
from collections.abc import Callable, Iterator
from typing import Any, Literal
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.measuring import in_turns
from train3d_jax import chunking
from train3d_jax.geometry.clouds import CloudSettings
from train3d_jax.networks import encoder
from train3d_jax.training import losses, trainer
from train3d_jax.training.config import TrainingConfig, build_encoder
from train3d_jax.training.examples import make_examples

EXPONENTIALS = 256  # of an array, one after the other, to measure their rate


class Step:
    """All that is asked of the training API: a compiled step and its parts, on a fixed batch."""

    def __init__(self, batch_size: int, precision: Literal["float32", "bfloat16"] = "float32"):
        clouds = CloudSettings(num_points=0, voxel_size=0.0)
        self.config = config = TrainingConfig(
            (0, 2), clouds, batch_size, encoder="surfaces", precision=precision
        )
        self._mesh = trainer.device_mesh(batch_size)
        self._state = trainer.place_state(trainer.initial_state(config, 1000), self._mesh)
        self._step = trainer.make_train_step(config, 1000, self._mesh)

        def examples(params: Any, key: jax.Array, batch: trainer.Batch):
            return make_examples(key, batch, config, augmented=True)

        def loss(params: Any, key: jax.Array, batch: trainer.Batch) -> jax.Array:
            observation, labels = examples(params, key, batch)
            network = build_encoder(config)
            inputs = network.inputs(trainer.sample_key(key), observation, config.clouds)
            posteriors = encoder.encode(network, params, inputs)
            return sum(
                losses.posterior_loss(posterior, labels.quantity(target), target).mean()
                for target, posterior in posteriors.items()
            )  # pyright: ignore[reportReturnType]

        self._parts = [jax.jit(examples), jax.jit(loss), jax.jit(jax.value_and_grad(loss))]

    def train(self, batches: Iterator[trainer.Batch], steps: int) -> None:
        """So many steps, one ahead of the device, as the training loop does."""
        last: Any = None
        for _ in range(steps):
            batch = trainer.place_batch(next(batches), self._mesh)
            self._state, now = self._step(self._state, batch)
            jax.block_until_ready(last)
            last = now
        jax.block_until_ready(last)

    def floor(self, batch: trainer.Batch) -> str:
        """How many samples a second there would be at best, in words.

        The operations that XLA counts, and of these the exponentials, logarithms and roots, at the
        rates at which this machine multiplies large matrices and takes exponentials of an array
        that its caches hold.  Moving data is left out: what fits a cache costs little.
        """
        # XLA counts the body of a loop once, so there must be none.
        at_once = lambda function, rows, **_: jax.vmap(function)(rows)  # noqa: E731
        with mock.patch.object(jax.lax, "map", at_once):
            counted = self._compiled(batch).cost_analysis()
        size = len(batch["focal"])
        plain, hard = counted["flops"] / size, counted["transcendentals"] / size
        matrix, many = jnp.ones((2048, 2048)), jnp.ones(2**16)
        product = jax.jit(lambda x: x @ x)
        # Many in one call: a call of its own takes as long as thousands of exponentials.
        again = lambda _, x: jnp.exp(-x)  # noqa: E731
        exponential = jax.jit(lambda x: jax.lax.fori_loop(0, EXPONENTIALS, again, x))
        taken = in_turns(
            {
                "product": lambda: product(matrix).block_until_ready(),
                "exponential": lambda: exponential(many).block_until_ready(),
            }
        )
        rate = 2 * len(matrix) ** 3 / np.median(taken["product"])
        hard_rate = EXPONENTIALS * len(many) / np.median(taken["exponential"])
        at_best = 1 / (plain / rate + hard / hard_rate)
        return (
            f"{at_best:.0f}: {plain / 1e6:.0f} MFLOP a sample at {rate / 1e9:.0f} GFLOP/s, "
            f"{hard / 1e6:.1f} M exponentials at {hard_rate / 1e9:.2f} G/s"
        )

    def operations(self, batch: trainer.Batch) -> tuple[float, float]:
        """Operations of a step as compiled, and the bytes that it moves, by XLA's account."""
        counted = self._compiled(batch).cost_analysis()
        return counted["flops"], counted["bytes accessed"]

    def _compiled(self, batch: trainer.Batch) -> Any:
        step = jax.jit(trainer.train_step(self.config, 1000))
        return step.lower(self._state, batch).compile(chunking.compiler_options(derivatives=True))

    def parts(self, batch: trainer.Batch) -> dict[str, Callable[[], object]]:
        """What each part takes, with the parts before it."""
        arguments = self._state.params, jax.random.key(0), batch
        # A copy of the parameters: those of the state are donated to the step.
        arguments = jax.tree.map(lambda x: x + 0, arguments[0]), *arguments[1:]
        names = ("clouds and labels", "forward", "backward")
        return {
            **{
                name: functools.partial(lambda part: jax.block_until_ready(part(*arguments)), part)
                for name, part in zip(names, self._parts, strict=True)
            },
            "optimiser": lambda: self.train(itertools.repeat(batch), 1),
        }
