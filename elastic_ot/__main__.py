"""``python -m elastic_ot`` is the ``elastic-ot`` command."""

import sys

from .cli.main import main

if __name__ == "__main__":
    sys.exit(main())
