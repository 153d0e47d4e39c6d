"""The outcome heads: what each asks of the rest of a visit, and the columns that it reads.

An outcome is a question about the events that are still to come in a visit. `BUILT_IN` are the ones that every shop
has; a shop's own is one YAML file with the same fields (`read_outcome`).
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Final, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from featurestore.contract.event import EVENT_TYPES, PASSIVE
from featurestore.errors import SettingsError
from featurestore.session.views import CART_COLUMNS, TOTALS, WIDE

INTERACTIONS: Final = tuple(name for name in EVENT_TYPES if name not in PASSIVE)

COLUMNS: Final = (
    "clicks",
    "duration_s",
    "pages",
    "gap_mean_s",
    "idle_s",
    "silent_s",
    "gap_1_s",
    "gap_2_s",
    "cart_additions",
    "cart_items",
    "cart_value",
    "checkout_step",
    "since_add",
    "type_1",
    "type_2",
    "type_3",
    "n_view_item",
    "n_view_cart",
    "n_view_reviews",
    "n_compare",
    "n_remove_from_cart",
    "price_n",
    "price_mean",
    "price_sd",
)
"""What the heads read: a small part of the view does as well as all of it, and the cost grows with the columns."""

_LOOKED_AT: Final = ("n_search", "n_view_item_list", "n_add_to_wishlist", "visitor_sessions", "source")

COLUMNS_OF_INTEREST: Final = (*COLUMNS, *_LOOKED_AT)
"""For an addition what was looked at matters more than how far the checkout is."""

COLUMNS_BEFORE_CART: Final = tuple(name for name in COLUMNS_OF_INTEREST if name not in CART_COLUMNS | TOTALS)
"""Nothing of the cart or the checkout, and no total that they follow from."""


def _known(names: tuple[str, ...], all_names: Sequence[str], what: str) -> tuple[str, ...]:
    unknown = [name for name in names if name not in all_names]
    if unknown or len(set(names)) < len(names) or not names:
        wrong = f"unknown {what} {unknown[0]!r}" if unknown else f"each {what} once, and at least one"
        raise ValueError(f"{wrong}; known are {', '.join(all_names)}")
    return names


class Outcome(BaseModel):
    """One question about the rest of a visit.

    Attributes:
        name: of the head and of its variable in policy conditions.
        events: the types that are looked for among the events strictly later in the visit.
        absent: the outcome is that none of them comes.
        before_cart: only asked while nothing was added to the cart and no checkout was begun.
        columns: of the wide view.
        meaning: in words, for people.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,40}$")]
    events: Annotated[tuple[str, ...], AfterValidator(lambda names: _known(names, EVENT_TYPES, "event type"))]
    absent: bool = False
    before_cart: bool = False
    columns: Annotated[tuple[str, ...], AfterValidator(lambda names: _known(names, WIDE, "column"))] = COLUMNS
    meaning: Annotated[str, Field(max_length=200)] = ""

    @model_validator(mode="after")
    def _before_the_cart_nothing_of_it(self) -> Self:
        leaks = [name for name in self.columns if name in CART_COLUMNS | TOTALS]
        if self.before_cart and leaks:
            raise ValueError(f"a head that is read before the cart must not have the column {leaks[0]!r}")
        return self

    def eligible(self, wide: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Which rows (n, `N_WIDE`) the outcome is asked of."""
        if not self.before_cart:
            return np.ones(len(wide), np.bool_)
        empty = (wide[:, WIDE.index("cart_additions")] == 0) & (wide[:, WIDE.index("checkout_step")] == 0)
        return np.asarray(empty, np.bool_)

    def read(self, wide: NDArray[np.float64]) -> NDArray[np.float64]:
        """The head's columns of the rows ``wide`` (n, `N_WIDE`)."""
        return wide[:, [WIDE.index(name) for name in self.columns]]


BUILT_IN: Final = (
    Outcome(
        name="add_rest",
        events=("add_to_cart",),
        columns=COLUMNS_OF_INTEREST,
        meaning="puts something into the cart later in this visit",
    ),
    Outcome(name="order_rest", events=("purchase",), meaning="orders later in this visit"),
    Outcome(
        name="checkout_rest",
        events=("begin_checkout", "add_shipping_info", "add_payment_info"),
        meaning="takes a step of the checkout later in this visit",
    ),
    Outcome(
        name="exit_next",
        events=INTERACTIONS,
        absent=True,
        columns=COLUMNS_OF_INTEREST,
        meaning="leaves without another click",
    ),
    Outcome(
        name="order_before_cart",
        events=("purchase",),
        before_cart=True,
        columns=COLUMNS_BEFORE_CART,
        meaning="orders later in this visit, judged before anything is in the cart",
    ),
)


def read_outcome(path: Path) -> Outcome:
    """A shop's own outcome from a YAML file.

    Raises:
        SettingsError: if the file cannot be read or a field is wrong, naming it.
    """
    import yaml

    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
        return Outcome.model_validate(values)
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path}: cannot be read: {error}") from None
    except yaml.YAMLError as error:
        raise SettingsError(f"{path}: not YAML: {error}") from None
    except ValidationError as error:
        raise SettingsError(
            "\n".join(
                f"{path}: {'.'.join(map(str, p['loc'])) or 'file'}: {p['msg'].removeprefix('Value error, ')}"
                for p in error.errors()
            )
        ) from None
