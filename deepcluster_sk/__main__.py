"""Cluster a file from the shell: ``python -m deepcluster_sk --help``."""

from deepcluster_sk._cli import main

if __name__ == "__main__":
    raise SystemExit(main())
