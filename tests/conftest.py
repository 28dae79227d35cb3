import gc
import os
import tempfile
from importlib.metadata import version
from pathlib import Path

# Compiling takes most of the tests' time.  Less optimisation takes a quarter of it, and nothing is
# compiled twice: neither here nor in the programs that tests start.  Single operations count too:
# 14 ms of CPU to read, 28 ms to compile, hundreds in each program.  Set before jax is imported.
COMPILED = tempfile.TemporaryDirectory(prefix="train3d_jax_tests_")
if version("jaxlib").startswith("0.10."):  # another might not know these, and refuse to start
    os.environ.setdefault(
        "XLA_FLAGS", "--xla_backend_optimization_level=0 --xla_cpu_use_fusion_emitters=false"
    )
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", COMPILED.name)
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")

import jaxtyping  # noqa: E402

# Types and shapes of what these take and give are checked, under jit when they are traced.  `api`
# is not among them: it checks its arguments itself, and raises its own errors.
CHECKED = (
    "geometry", "windows", "evidence", "evaluation", "inference.arrays", "inference.known", "shape"
)  # fmt: skip
jaxtyping.install_import_hook([f"train3d_jax.{name}" for name in CHECKED], "checking.check")

import pytest  # noqa: E402
from absl import flags  # noqa: E402

gc.set_threshold(100_000)  # as `launch.program` does: most of what is traced stays
flags.FLAGS.mark_as_parsed()  # grain asks absl's flags when it starts worker processes

FIRST = (
    "test_documentation", "test_processes", "test_train_program", "test_evaluate_program",
    "test_programs", "test_shared_windows", "test_solver", "test_surface_encoder",
    "test_infer_program", "test_training", "test_viewer_server", "test_cluster", "test_rooms",
    "test_inference", "test_api", "test_prepare_resume",
)  # fmt: skip
"""Files that take longest, begun first: two processes then end together."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    place = {name: number for number, name in enumerate(FIRST)}
    items.sort(key=lambda item: place.get(item.path.stem, len(FIRST)))


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
    from data.prepared import layout, prepared_set

    folder = tmp_path_factory.mktemp("sets")
    small = prepared_set.PreparedSet(make_set(folder / "small", 4))
    large = prepared_set.PreparedSet(make_set(folder / "large", 12, layout.ARRAY_RECORD))
    return [Subset(samples, np.arange(1, len(samples))) for samples in (small, large)]


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where everything is: raw datasets of 15, 4 and 9 maps, a prepared set of them all."""
    import numpy as np
    from box_rooms import box_room
    from programs import run
    from raw_files import exr, png16, put, sens

    folder = tmp_path_factory.mktemp("programs")
    for scene in range(5):
        maps = [box_room(10 * scene + frame, fov_degrees=50 + scene) for frame in range(3)]
        units = [np.uint16(1000 * depth) for depth, _ in maps]
        name = f"scene000{scene}_00"
        path = folder / "scannet" / "scans" / name / f"{name}.sens"
        put(path, sens(units, intrinsics=maps[0][1]))
    for view in ("tl", "tr", "bl", "br"):
        depth, _ = box_room(60, (96, 96), fov_degrees=70)
        path = folder / "kenburns" / "depths" / "town-depth" / f"00001-{view}-depth.exr"
        put(path, exr(np.float16(100 * depth)))
    meta = {"intSample": 1, "fltFov": 70.0}
    put(folder / "kenburns" / "rgb" / "town" / "00001-meta.json", meta)
    for building in ("allensville", "beechwood", "benevolence"):
        for point in range(3):
            depth, _ = box_room(70 + point, (96, 96), fov_degrees=60)
            stem = f"point_{point}_view_0_domain_"
            image = f"depth_zbuffer/taskonomy/{building}/{stem}depth_zbuffer.png"
            info = f"point_info/taskonomy/{building}/{stem}point_info.json"
            put(folder / "taskonomy" / image, png16(np.uint16(512 * depth)))
            camera = {"field_of_view_rads": float(np.radians(60)), "resolution": 96}
            put(folder / "taskonomy" / info, camera)
    run(
        folder, "prepare", "-ss", "scannet", "-sk", "kenburns", "-st", "taskonomy",
        "-ns", "15,4,9", "--out", "prepared", "--num_workers", 0,
    )  # fmt: skip
    return folder


@pytest.fixture(scope="session")
def trained(folder: Path) -> tuple[Path, str]:
    """A run with both heads, and what the program told."""
    from programs import run

    ended = run(
        folder, "train", "--data", "prepared", "--model_name", "both", "--targets", "0,2",
        "--batch_size", 8, "--epochs", 3, "--num_points", 256, "--print_losses_every", 1,
    )  # fmt: skip
    return folder / "runs" / "both", ended.stdout
