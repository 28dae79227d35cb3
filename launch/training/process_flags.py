"""The flags on which processes train one network together; `processes` does it."""

from absl import flags

COORDINATOR = flags.DEFINE_string(
    "coordinator", None,
    "host:port of process 0 where several train together; auto where the cluster knows it (SLURM, "
    "Open MPI, Kubernetes, TPUs).",
)  # fmt: skip
NUM_PROCESSES = flags.DEFINE_integer(
    "num_processes", None, "How many train together.", lower_bound=1
)
PROCESS_ID = flags.DEFINE_integer("process_id", None, "Number of this one, from 0.", lower_bound=0)

FLAGS = ("coordinator", "num_processes", "process_id")
"""Flags on where a run is trained; run.flags leaves them out."""
