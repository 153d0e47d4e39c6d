"""How many examples a property test draws: few in each run, since each run draws others; `make faults` draws more."""

import os
from typing import Final

_TIMES: Final = int(os.environ.get("CLICKSTAGE_EXAMPLES", "1"))


def examples(few: int) -> int:
    """``few``, times what ``CLICKSTAGE_EXAMPLES`` says."""
    return few * _TIMES
