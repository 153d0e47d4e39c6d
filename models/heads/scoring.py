"""All heads of a bundle, scored together: heads over one view share a pass of the kernel where that pays."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from featurestore.columns.jit import compiled
from models.heads.head import SINGLE, Head
from models.heads.views import VIEWS, WIDE
from models.trees.ensemble import Merged

Floats = NDArray[np.float64]
N_TENTHS: Final = 10
_CART: Final = tuple(VIEWS[WIDE].index(name) for name in ("cart_additions", "checkout_step"))


class OutputNames(tuple[str, ...]):  # noqa: SLOT001 - a tuple has no slots for values
    """The names of one output.

    Attributes:
        tenths: the nine values that cut the output on later visits of the training log into tenths; () if not known.
        meaning: what it is the probability of, in words: "orders later in this visit"; "" if it is none, or not known.
        before_cart: it is only known until something is put into the cart.
    """

    tenths: tuple[float, ...]
    meaning: str
    before_cart: bool

    def __new__(
        cls, names: Iterable[str], tenths: Iterable[float] = (), meaning: str = "", *, before_cart: bool = False
    ) -> Self:
        self = super().__new__(cls, names)
        self.tenths = tuple(tenths)
        self.meaning = meaning
        self.before_cart = before_cart
        return self


class Names(tuple[OutputNames, ...]):  # noqa: SLOT001 - a tuple has no slots for values
    """What a policy's conditions may name of a bundle: the names of each output of its heads.

    Attributes:
        kinds: what its segments tell a visitor's session before to have been; () without segments.
    """

    kinds: tuple[str, ...]

    def __new__(cls, outputs: Iterable[OutputNames], kinds: Iterable[str] = ()) -> Self:
        self = super().__new__(cls, outputs)
        self.kinds = tuple(kinds)
        return self


class _Group(NamedTuple):
    """Heads that are scored in one pass, and where their outputs stand among those of all heads but the first."""

    view: str
    merged: Merged
    outputs: NDArray[np.int64]


class Heads:
    """The heads of a bundle; the first is the one that decisions are made by.

    Attributes:
        first: the stage, in every bundle so far.
        others: the heads behind it.
        variables: what policy conditions may name, in the order of the outputs of all heads: ``order_rest`` and
            ``order_rest.yes`` are the same for a head with one output.
        views: the views that must be computed.
    """

    def __init__(self, heads: Sequence[Head]) -> None:
        if not heads or len({head.name for head in heads}) != len(heads):
            raise ValueError("a bundle needs at least one head, and each name once")
        self.first: Final = heads[0]
        self.others: Final = tuple(heads[1:])
        self.views: Final = frozenset(head.view for head in heads)
        self.variables: Final = tuple(names for head in heads for names in variables(head))
        self.n_others: Final = sum(len(head.outputs) for head in self.others)
        self._groups = _groups(self.others)
        early = [head.before_cart for head in self.others for _ in head.outputs]
        self._before_cart: Final = np.flatnonzero(early)

    def __iter__(self) -> Iterator[Head]:
        return iter((self.first, *self.others))

    def __len__(self) -> int:
        return 1 + len(self.others)

    def __getitem__(self, name: str) -> Head:
        """The head of that name; KeyError if there is none."""
        for head in self:
            if head.name == name:
                return head
        raise KeyError(name)

    def score_others(self, views: Mapping[str, Floats]) -> Floats:
        """Outputs (n, n_others) of all heads but the first, one after the other, of rows of the views.

        NaN for a head that is only asked before the cart, once there is one.
        """
        if len(self._groups) == 1:  # its outputs are all of them, in order
            [group] = self._groups
            out = group.merged.predict(views[group.view])
        else:
            out = np.empty((len(next(iter(views.values()))), self.n_others))
            for group in self._groups:
                out[:, group.outputs] = group.merged.predict(views[group.view])
        if self._before_cart.size:
            _leave_out(views[WIDE], self._before_cart, out)
        return out

    def warm_up(self) -> None:
        """Compile, or load from the cache, all that scoring and explaining run."""
        for head in self:
            head.warm_up()
        self.score_others({view: np.zeros((1, len(VIEWS[view]))) for view in self.views})


@compiled
def _leave_out(wide: NDArray[np.float64], before_cart: NDArray[np.int64], out: NDArray[np.float64]) -> None:
    """What is only asked before the cart is NaN where there is one."""
    for i in range(out.shape[0]):
        if wide[i, _CART[0]] != 0 or wide[i, _CART[1]] != 0:
            for j in before_cart:
                out[i, j] = np.nan


def variables(head: Head) -> list[OutputNames]:
    """The names that policy conditions have for each output of a head."""
    full = [f"{head.name}.{word(output)}" for output in head.outputs]
    if head.task in SINGLE:
        meaning = head.training.get("meaning")
        said = meaning if head.task == "binary" and isinstance(meaning, str) else ""
        return [OutputNames((head.name, full[0]), _tenths(head), said, before_cart=head.before_cart)]
    return [OutputNames((name,), before_cart=head.before_cart) for name in full]


def _tenths(head: Head) -> list[float]:
    """As the training wrote them down; a manifest that says something else there says nothing."""
    said = head.training.get("deciles")
    edges = [float(edge) for edge in said if isinstance(edge, int | float)] if isinstance(said, list) else []
    return edges if len(edges) == N_TENTHS - 1 and edges == sorted(edges) else []


def word(output: str) -> str:
    """An output's name as one word.

    >>> word("Drop-Off Risk")
    'drop_off_risk'
    """
    return output.lower().replace(" ", "_").replace("-", "_")


def _groups(heads: Sequence[Head]) -> list[_Group]:
    """Trees that add to one output each fill the lanes of a block together; a forest of k outputs goes alone."""
    starts = np.cumsum([0, *(len(head.outputs) for head in heads)])
    parts: dict[object, list[int]] = {}
    for i, head in enumerate(heads):
        shared = head.model.trees.outputs() is not None
        parts.setdefault(head.view if shared else i, []).append(i)
    groups = []
    for members in parts.values():
        chosen = [heads[i] for i in members]
        merged = Merged([(head.model, head.finish, head.places, head.fill) for head in chosen])
        outputs = np.concatenate([np.arange(starts[i], starts[i + 1]) for i in members])
        groups.append(_Group(chosen[0].view, merged, outputs))
    return groups
