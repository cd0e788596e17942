"""Mainstay with `bench.noop` installed: `celery -A bench.engine worker`, and `python -m bench.engine` to dispatch.

The kind stands outside the product, so it must be declared before the engine asks which kinds there are.
"""

import runpy

import bench.handlers  # noqa: F401  # declares bench.noop, before the next import
from workers.app import app

__all__ = ["app"]

if __name__ == "__main__":
    runpy.run_module("workers.dispatcher", run_name="__main__")
