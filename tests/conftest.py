from pathlib import Path

import pytest
from absl import flags

flags.FLAGS.mark_as_parsed()  # grain asks absl's flags when it starts worker processes

REAL_DATA = Path(__file__).parents[2] / "shared" / "real"


@pytest.fixture(scope="session")
def real_data() -> Path:
    if not REAL_DATA.is_dir():
        pytest.skip(f"real captures are not in the project, and not at {REAL_DATA}")
    return REAL_DATA
