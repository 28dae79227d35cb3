"""Shows depth maps in the browser: drag field of view and shift, and see rooms bend and straighten.

    python -m launch.view --input DEPTH_MAPS --space depth

Then open http://127.0.0.1:8080.  Ctrl-C ends it.  With --data in place of --input it shows a
prepared set, or a folder with a manifest.json, beside its truth.
"""

import signal
import time

from absl import flags

from launch import program
from launch.viewer import flags as view_flags

flags.adopt_module_key_flags(view_flags)


def main() -> None:
    """From flags to a page; ends with Ctrl-C or SIGTERM."""
    program.require("view", "viser")
    # Imported here for start-up: flags are checked, and --help answered, without JAX.
    from launch import compiled
    from launch.viewer.server import serve

    for number in (signal.SIGTERM, signal.SIGINT):  # the latter is ignored in a script's background
        signal.signal(number, signal.default_int_handler)
    compiled.start()
    config = view_flags.configuration()
    server, maps = serve(config)
    try:
        address = f"http://{config.host}:{server.get_port()}"
        many = f"{maps} maps" if maps > 1 else "1 map"
        print(f"{address} shows {many} of {config.recovery.input}; Ctrl-C ends it", flush=True)
        while True:
            time.sleep(3600)
    except KeyboardInterrupt:
        print()
    finally:
        server.stop()
    if server.compiles():
        program.end_now()


if __name__ == "__main__":
    program.run(main)
