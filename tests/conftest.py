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

import pytest  # noqa: E402
from absl import flags  # noqa: E402

flags.FLAGS.mark_as_parsed()  # grain asks absl's flags when it starts worker processes

REAL_DATA = Path(__file__).parents[2] / "shared" / "real"


@pytest.fixture(scope="session")
def real_data() -> Path:
    if not REAL_DATA.is_dir():
        pytest.skip(f"real captures are not in the project, and not at {REAL_DATA}")
    return REAL_DATA


@pytest.fixture(scope="session")
def small_and_large(tmp_path_factory: pytest.TempPathFactory) -> list:
    """Prepared sets of 4 and 12 samples, npz and array_record, without the first sample of each."""
    import numpy as np
    from prepared_sets import make_set

    from data.loading.splits import Subset
    from data.prepared import prepared_set as prepared

    folder = tmp_path_factory.mktemp("sets")
    small = prepared.PreparedSet(make_set(folder / "small", 4))
    large = prepared.PreparedSet(make_set(folder / "large", 12, prepared.ARRAY_RECORD))
    return [Subset(samples, np.arange(1, len(samples))) for samples in (small, large)]
