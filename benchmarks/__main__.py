"""Run benchmarks: ``python -m benchmarks [name ...] [options]``, all by default."""

import sys
from importlib import import_module

SUITES = (
    "tensorized",
    "companion",
    "subspace",
    "exemplars",
    "published",
    "speed_step",
    "threads",
    "speed",
    "peers",
    "selection",
    "scale",
)


def main(arguments):
    """Run the named suites in turn; options go to each of them."""
    names = [a for a in arguments if a in SUITES]
    if "-h" in arguments or "--help" in arguments:
        print(f"{__doc__}\n\nNames: {', '.join(SUITES)}\n")
    options = [a for a in arguments if a not in SUITES]
    failures = 0
    for name in names or SUITES:
        print(f"## {name}\n")
        failures += import_module(f"benchmarks.{name}").BENCHMARK.main(options)
    return min(failures, 1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
