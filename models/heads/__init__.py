"""Heads: the named models of a bundle. The stage is the first one and has no privilege in the code."""

from models.heads.calibration import IDENTICAL, Calibration
from models.heads.head import Golden, Head, Task
from models.heads.scoring import Heads
from models.heads.views import PUBLISHED, VIEWS, WIDE

__all__ = ["IDENTICAL", "PUBLISHED", "VIEWS", "WIDE", "Calibration", "Golden", "Head", "Heads", "Task"]
