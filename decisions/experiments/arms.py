"""Experiment arms from salted hashes: no storage, no randomness, the same arm wherever and whenever it is asked.

A shopper's 64-bit hash (of the session or of the visitor) is mixed with a salt and read as a number in [0, 1). One draw
with the layer's salt says which experiment of the layer the shopper belongs to, a second one with the experiment's own
salt says which arm. Draws with different salts are independent, so concurrent experiments do not correlate.

The mixer is the finaliser of SplitMix64 (Steele, Lea and Flood, Fast splittable pseudorandom number generators,
OOPSLA 2014), applied twice.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from featurestore.columns.hashing import hash_text
from featurestore.columns.jit import compiled

BITS_PER_EXPERIMENT: Final = 4
UNIT_SESSION: Final = 0
UNIT_VISITOR: Final = 1

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)
_S30, _S27, _S31, _S11 = np.uint64(30), np.uint64(27), np.uint64(31), np.uint64(11)


def layer_salt(layer: str) -> int:
    """Salt of a layer's draw."""
    return hash_text(f"layer:{layer}")


def arm_salt(experiment: str, salt_version: int) -> int:
    """Salt of an experiment's draw of arms; another version draws anew."""
    return hash_text(f"arms:{experiment}@{salt_version}")


@compiled
def draw(unit: np.uint64, salt: np.uint64) -> float:
    """A number in [0, 1) that depends on both hashes alone."""
    z = (unit ^ salt) + _GOLDEN
    z = (z ^ (z >> _S30)) * _MIX_1
    z = (z ^ (z >> _S27)) * _MIX_2
    z = (z ^ (z >> _S31)) + salt
    z = (z ^ (z >> _S30)) * _MIX_1
    z = (z ^ (z >> _S27)) * _MIX_2
    z ^= z >> _S31
    return float(z >> _S11) * (1.0 / 9007199254740992.0)


@compiled
def enrol(session: np.uint64, visitor: np.uint64, tables: np.void) -> int:
    """The arms of one shopper, four bits an experiment: arm + 1, 0 for not enrolled.

    ``tables`` is a row of `decisions.policy.compile.TABLES`. Nobody is enrolled by a hash of 0 (an unknown visitor).
    """
    bits = 0
    for e in range(tables["n_experiments"]):
        unit = visitor if tables["unit"][e] == UNIT_VISITOR else session
        if unit == np.uint64(0):
            continue
        place = draw(unit, tables["layer_salt"][e])
        if place < tables["low"][e] or place >= tables["high"][e]:
            continue
        u = draw(unit, tables["salt"][e])
        arm = 0
        while u >= tables["until"][e, arm]:
            arm += 1
        bits |= (arm + 1) << (BITS_PER_EXPERIMENT * e)
    return bits


@compiled
def enrol_many(
    sessions: NDArray[np.uint64], visitors: NDArray[np.uint64], tables: NDArray[np.void], out: NDArray[np.uint32]
) -> None:
    """`enrol` for each row, into ``out``."""
    for i in range(sessions.size):
        out[i] = enrol(sessions[i], visitors[i], tables[0])
