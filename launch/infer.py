"""Recovers focal length and shift of depth maps; writes a point cloud, a depth map and a JSON each.

    python -m launch.infer --input DEPTH_MAPS --out OUT --model runs/both --space depth

Reads .npy, .npz, .png (16 bits; a PNG cannot hold 32), .tiff (16 or 32 bits, or float32), .exr,
.pfm, .h5, .mat, maps of Record3D and COLMAP, and others.  0 and what is not finite count as
missing.  The folder OUT gets the answers under the same relative paths, index.html to look at them,
and summary.csv and summary.json for all.
"""

from absl import flags

from launch import program
from launch.recovery import flags as infer_flags

flags.adopt_module_key_flags(infer_flags)


def main() -> int:
    """From flags to a folder of answers; the exit status is 1 where a map failed."""
    # Imported here for start-up: flags are checked, and --help answered, without JAX.
    from launch import compiled
    from launch.recovery.folder import recover_folder
    from launch.recovery.notes import closing

    compiled.start()
    config, listing = infer_flags.configuration()
    outcome = recover_folder(config, listing=listing)
    see = "--merge joins all shards" if config.shard else "see index.html and summary.csv"
    print(f"{config.out}: {closing(outcome)}; {see}")
    return program.EXIT_SOME_FAILED if outcome.counts.failed else 0


if __name__ == "__main__":
    program.run(main)
