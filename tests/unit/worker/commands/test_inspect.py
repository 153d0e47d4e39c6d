"""What ``clickstage inspect`` says of a session whose visit is over."""

import numpy as np

from featurestore.session.fold import empty_states
from featurestore.session.layout import MEMORY
from featurestore.store.keys import Shard
from worker.commands.inspect import describe
from worker.lookup import Found
from worker.settings import Settings

T = 1_700_000_000_000


def test_what_is_kept_of_a_visit_that_is_over_is_not_shown_as_a_visit() -> None:
    """An ended or erased session keeps what holds repeated events off: its zeros are no features and no times."""
    state = empty_states(1)
    state["arrival"] = T
    found = Found("s", Shard(0, 0), state, np.zeros(1, MEMORY), 65, T + 86_400_000, None)
    said = "\n".join(describe(found, Settings()))
    assert "no visit is open: it ended, or was erased" in said
    assert "1970" not in said
    assert "session_duration" not in said
    assert "forgotten: 2023-11-15" in said
