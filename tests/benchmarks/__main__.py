"""Measure groups of benchmarks into one record: `python -m benchmarks --help`, in tests/."""

import argparse
import time
from pathlib import Path

from benchmarks.groups import group_names
from benchmarks.record import measure_groups


def main() -> None:
    """Read the command line, and say what is done."""
    parser = argparse.ArgumentParser(
        prog="benchmarks", description="Measure groups of benchmarks into one record."
    )
    parser.add_argument("groups", nargs="*", help=f"of {', '.join(group_names())}; all if none is named")
    parser.add_argument("--record", type=Path, required=True, help="the file to write, or to go on with")
    parser.add_argument("--go-on", action="store_true", help="measure only the groups that the record lacks")
    parser.add_argument(
        "--brief", action="store_true", help="once each, without spread and what takes longest"
    )
    asked = parser.parse_args()
    started = time.perf_counter()
    try:
        for done in measure_groups(asked.groups or group_names(), asked.record, asked.go_on, asked.brief):
            print(f"{done}: measured, {time.perf_counter() - started:.0f} s since the start", flush=True)
    except ValueError as error:
        parser.error(str(error))


if __name__ == "__main__":  # workers of a comparison import this file
    main()
