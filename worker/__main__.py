"""``python -m worker`` is ``clickstage``."""

from worker.cli import process

process()
