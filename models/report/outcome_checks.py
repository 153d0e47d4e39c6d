"""What was asked of the outcome heads, and what they reach; each figure stands in the report."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple


class Check(NamedTuple):
    """One thing that was asked for; ``met`` is None where it was not measured."""

    what: str
    asked: str
    reached: str
    met: bool | None


def checks(report: Mapping[str, Any]) -> list[Check]:
    """The checks whose logs are in the report."""
    logs = {name: log["heads"] for name, log in report.get("logs", {}).items()}
    found: list[Check] = []
    if "order_rest" in logs.get("L", {}) and "add_rest" in logs["L"]:
        found += _generated(logs["L"], report.get("windows"))
    if "shop_synthetic_ecom" in logs:
        found += _third_party(logs["shop_synthetic_ecom"], report["shop_in_time"])
    if "order_before_cart" in logs.get("simulator", {}):
        early = logs["simulator"]["order_before_cart"]
        found.append(
            _least("simulator, before the cart", [("AUC", 0.58, early["auc"]), ("lift", 1.6, early["lift_10"])])
        )
    if "uci468" in report:
        by = report["uci468"]["without_page_values"]
        parts = [("ten folds", 0.78, by["folds"]["auc"]), ("in time", 0.69, by["time"]["auc"])]
        found.append(_least("UCI 468 without PageValues, AUC", parts))
    if "eshop" in report:
        shop = report["eshop"]
        parts = [("next", 0.61, shop["next_dear"]["auc"]), ("rest", 0.64, shop["rest_dear"]["auc"])]
        found.append(_least("eshop: price_2 AUC, revenue R²", [*parts, ("R²", 0.14, shop["rest_revenue"]["r2"])]))
    return found


def _generated(heads: Mapping[str, Any], windows: Mapping[str, Any] | None) -> Iterator[Check]:
    order, add = heads["order_rest"], heads["add_rest"]
    names = (("AUC", 0.87, "auc"), ("AP", 0.57, "ap"), ("Brier skill", 0.35, "brier_skill"), ("lift", 6.4, "lift_10"))
    yield _least("L: an order", [(name, least, order[key]) for name, least, key in names])
    yield Check("L: an order, ECE", "at most 0.012", f"{order['ece']:.4f}", order["ece"] <= 0.012)
    yield _least("L: an addition", [("AUC", 0.69, add["auc"]), ("AP", 0.19, add["ap"]), ("lift", 3.0, add["lift_10"])])
    above = order["accuracy"] > order["always_no"]
    reached = f"{order['accuracy']:.2%}, always no {order['always_no']:.2%}"
    yield Check("L: binary accuracy", "94.5 %, and above always no", reached, order["accuracy"] >= 0.945 and above)
    if windows:
        kept = [("order_rest", "accuracy"), ("order_rest", "auc"), ("add_rest", "auc")]
        best = {(name, key): max((by[key], size) for size, by in windows[name].items()) for name, key in kept}
        said = ", ".join(f"{name} {key} {heads[name][key]:.3f} and {best[name, key][0]:.3f}" for name, key in kept)
        met = all(heads[name][key] >= best[name, key][0] for name, key in kept)
        yield Check(f"L: not below any window of {', '.join(map(str, windows['order_rest']))}", "yes", said, met)
        for name, by in windows.items():
            least = min(by.values(), key=lambda one: one["ahead"])
            low, high = least["ahead_low"], least["ahead_high"]
            reached = f"{least['ahead']:+.2%} against the best of them (95 % interval {low:+.2%} to {high:+.2%})"
            yield Check(f"L: {name}, accuracy above the windows'", "not below 0", reached, high >= 0)


def _third_party(heads: Mapping[str, Any], in_time: Mapping[str, Any]) -> Iterator[Check]:
    """The figures that were asked for come from a prototype, which the first 70 % of the visits trained."""
    for name, least in (("order_rest", 0.80), ("add_rest", 0.79)):
        if name in heads:
            auc, (low, high) = in_time[name]["auc"], in_time[name]["interval"]
            folds, (worst, best) = heads[name]["auc"], heads[name]["interval"]["auc"]
            others = in_time[name]["other_folds"]
            reached = (
                f"{auc:.3f} ({low:.3f} to {high:.3f}); ten folds {folds:.3f} ({worst:.3f} to {best:.3f}), "
                f"other draws of the folds {min(others):.3f} to {max(others):.3f}"
            )
            yield Check(f"shop_synthetic_ecom, last 30 % of visits: {name}, AUC", f"{least:.2f}", reached, auc >= least)


def _least(what: str, parts: list[tuple[str, float, float]]) -> Check:
    """One line of several figures, each with its least value; as many digits count as were asked for."""
    asked = ", ".join(f"{name} {least:g}" for name, least, _ in parts)
    reached = ", ".join(f"{name} {value:.3f}" for name, _, value in parts)
    return Check(what, asked, reached, all(value >= least for _, least, value in parts))
