"""The API with `bench.noop` installed: `gunicorn bench.api:create_app()`.

The kind stands outside the product, so it must be declared before the API asks which kinds there are.
"""

import bench.handlers  # noqa: F401  # declares bench.noop, before the next import
from api import create_app

__all__ = ["create_app"]
