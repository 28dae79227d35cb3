"""Prepares depth maps and cameras for training: three datasets, and own captures.

    python -m launch.prepare -ss scannet -sk kenburns -st taskonomy -ns 100,50,50 --out prepared
    python -m launch.prepare --maps mine/manifest.json -ns 200 --out prepared

Each dataset is optional; the count of one that is not given is 0.  The samples are spread over the
scenes as evenly as their sizes allow.  Broken maps are listed in quarantine.jsonl and replaced.  An
interrupted run goes on with the same command.  --verify and --repair need --out alone.
"""

import sys

from absl import flags

from data.parallel.work import workers
from data.prepare import contact_sheet, distributions, plan
from data.prepare.preparation import prepare
from data.prepare.verify import repair, verify
from launch import program
from launch.preparation import flags as prepare_flags

flags.adopt_module_key_flags(prepare_flags)


def main() -> int | None:
    """From flags to a prepared set, or to the check of one."""
    if prepare_flags.VERIFY.value or prepare_flags.REPAIR.value:
        return _check_set()
    config = prepare_flags.configuration()
    if prepare_flags.DRY_RUN.value:
        print(*plan.select(config), sep="\n")
        return None
    try:
        summary = prepare(config)
    except KeyboardInterrupt:
        print(f"{config.out}: what is done stays; the same command goes on", file=sys.stderr)
        raise
    if summary.already:
        print(f"{config.out}: is finished already, with the same settings; nothing to do")
    else:
        pictures = f"{distributions.PICTURE} and {contact_sheet.PICTURE}"
        print(f"{config.out}: {summary}; see {pictures} there")
    return None


def _check_set() -> int:
    """Prints the files that are missing or changed, and mends them on demand; the exit status."""
    out, scheduler = prepare_flags.out(), prepare_flags.scheduler()
    left = mended = 0
    with workers(prepare_flags.NUM_WORKERS.value, scheduler) as (executor, number):
        if prepare_flags.REPAIR.value:
            for fault, done in repair(out, prepare_flags.roots(), executor, number):
                print(f"{out}/{fault}{', made again' if done else ''}")
                mended, left = mended + done, left + (not done)
        else:
            for fault in verify(out, executor, number):
                print(f"{out}/{fault}")
                left += 1
    again = f"{mended} files made again, " if mended else ""
    print(f"{out}: {again}{left} files are not as they were")
    return program.EXIT_SOME_FAILED if left else 0


if __name__ == "__main__":
    program.run(main)
