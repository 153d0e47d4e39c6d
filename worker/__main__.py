"""``python -m worker`` is ``clickstage``."""

import sys

from worker.cli import main

sys.exit(main())
