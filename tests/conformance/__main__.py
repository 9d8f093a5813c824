"""Runs real clients and servers, conformance cases and attack tools against lbd and nginx.

    python3 tests/conformance --lbd target/quick/lbd [--only PART,...]

Prints one table of what passes on each side, and what does not. Exit code 0: lbd passes all but what
has a listed reason, and no less than nginx; 1: it does not; 2: usage. All is on the loopback address;
what was started is ended.
"""

import argparse
import os
import signal
import sys
import tempfile
import time
from pathlib import Path

sys.dont_write_bytecode = True

import tools  # noqa: E402


def flags():
    parser = argparse.ArgumentParser(prog="conformance", description=__doc__.splitlines()[0])
    parser.add_argument("--lbd", default="target/quick/lbd", help="the daemon's binary")
    parser.add_argument("--only", default="", help="parts to run, with commas between")
    parser.add_argument("--tools", help="a folder to keep the libraries in for the next time")
    return parser.parse_args()


def main():
    given = flags()
    # So that a stop from outside cleans up as well.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    if not os.access(given.lbd, os.X_OK):
        print(f"There is no program at {given.lbd}: build it, or name another with --lbd", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory(prefix="lbd-conformance-") as folder:
        kept = Path(given.tools or f"{folder}/tools")
        kept.mkdir(parents=True, exist_ok=True)
        needed = tools.Tools(kept.resolve())
        needed.install()
        sys.path[:0] = [str(path) for path in needed.folder.glob("venv/lib/python*/site-packages")]
        # Only now: these modules need the libraries.
        from world import World

        began = time.monotonic()
        with World(Path(folder), needed, Path(given.lbd).resolve()) as world:
            wrong = world.run([part for part in given.only.split(",") if part])
        print(f"\n{world.table.text()}\n\nIt took {time.monotonic() - began:.0f} s.")
        for fault in wrong:
            print(f"NOT WELL  {fault}")
        return 1 if wrong else 0


sys.exit(main())
