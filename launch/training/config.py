"""The settings of a run of launch.train, besides those of the network."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class RunSettings:
    """What surrounds a training: data, folders, and how often the loop reports and saves.

    Attributes:
      folder: of the run.
      data: folders of prepared sets.
      mix: weight of each set; empty where their sizes decide.
      train_split: share of the samples to train on.
      init_from: folder of a run, or "default" for the package's, whose weights a new run begins
        with; None for random weights.
      num_workers: processes that read; 0 reads in threads.
      evaluate_every: steps between validations; 0 for one after each epoch.
      save_every: steps between checkpoints.
      record_every: steps between two rows about the loss.
      events: write TensorBoard events too.
    """

    folder: Path
    data: tuple[Path, ...]
    mix: tuple[float, ...] = ()
    train_split: float = 0.9
    init_from: Path | None = None
    num_workers: int = 0
    evaluate_every: int = 0
    save_every: int = 500
    record_every: int = 150
    events: bool = True
