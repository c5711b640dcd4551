"""Makes the archive of the version before: `python -m tests.previous COMMIT`."""

import sys

from . import pack

pack(sys.argv[1])
