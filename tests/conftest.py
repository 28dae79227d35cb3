import os
import tempfile
from importlib.metadata import version
from pathlib import Path

# Compiling takes most of the tests' time.  Less optimisation takes a quarter of it, and nothing is
# compiled twice: neither here nor in the programs that tests start.  Set before jax is imported.
COMPILED = tempfile.TemporaryDirectory(prefix="train3d_jax_tests_")
if version("jaxlib").startswith("0.10."):  # another might not know these, and refuse to start
    os.environ.setdefault(
        "XLA_FLAGS", "--xla_backend_optimization_level=0 --xla_cpu_use_fusion_emitters=false"
    )
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", COMPILED.name)
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.3")

import jaxtyping  # noqa: E402

# Types and shapes of what these take and give are checked, under jit when they are traced.  `api`
# is not among them: it checks its arguments itself, and raises its own errors.
CHECKED = ("geometry", "evaluation", "inference.arrays", "inference.known", "shape")
jaxtyping.install_import_hook([f"train3d_jax.{name}" for name in CHECKED], "checking.check")

import pytest  # noqa: E402
from absl import flags  # noqa: E402

flags.FLAGS.mark_as_parsed()  # grain asks absl's flags when it starts worker processes

REAL_DATA = Path(__file__).parents[2] / "shared" / "real"


@pytest.fixture(scope="session")
def real_data() -> Path:
    if not REAL_DATA.is_dir():
        pytest.skip(f"real captures are not in the project, and not at {REAL_DATA}")
    return REAL_DATA
