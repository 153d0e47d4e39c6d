import re
from pathlib import Path

import pytest
import yaml

from tests.services.node import Node

ROOT = Path(__file__).parents[3]
SHOP = ROOT / "edge" / "storefront"


def test_every_action_of_the_default_policy_has_a_look_in_the_shop() -> None:
    """An action that the shop cannot show would be decided for nothing."""
    policy = yaml.safe_load((ROOT / "deploy" / "policies" / "default.yaml").read_text(encoding="utf-8"))
    shown = (SHOP / "offers.js").read_text(encoding="utf-8").split("const SHOWN = {", 1)[1].split("\n};", 1)[0]
    looks = set(re.findall(r'^ {4}"?([a-z-]+)"?: \(', shown, re.MULTILINE))
    assert looks == set(policy["actions"])


@pytest.mark.parametrize("name", sorted(path.name for path in SHOP.glob("*.js")))
def test_the_scripts_parse(node: Node, name: str) -> None:
    """Each file is a module that Node can read, with only its siblings as imports."""
    script = SHOP / name
    checked = node.run("--experimental-default-type=module", "--check", str(script))
    assert checked.returncode == 0, checked.stderr
    for imported in re.findall(r'from "(.+?)"', script.read_text(encoding="utf-8")):
        assert (SHOP / imported).exists()


def test_the_catalogue_has_thirty_products_each_with_a_picture_of_its_own(node: Node) -> None:
    """Names, ids and drawings are distinct."""
    script = """
        import("../storefront/catalogue.js").then(async ({ PRODUCTS, reviewsOf }) => {
          const { picture } = await import("../storefront/art.js");
          const count = (values) => new Set(values).size;
          console.log(PRODUCTS.length, count(PRODUCTS.map((p) => p.id)), count(PRODUCTS.map(picture)),
            PRODUCTS.every((p) => p.price > 0 && count(reviewsOf(p).map((r) => r.text)) === 3));
        });"""
    ran = node.run("--experimental-default-type=module", "--input-type=module", "--eval", script)
    assert ran.stdout.split() == ["30", "30", "30", "true"], ran.stderr


def test_what_a_shopper_types_never_becomes_markup(node: Node) -> None:
    """The pages are built with a template tag that escapes."""
    script = """
        import("../storefront/html.js").then(({ html, trusted }) =>
          console.log(String(html`<a title="${`"><img>`}">${["<b>", html`<i>`, trusted("<u>"), null, 3]}</a>`)));"""
    ran = node.run("--experimental-default-type=module", "--input-type=module", "--eval", script)
    assert ran.stdout.strip() == '<a title="&quot;&gt;&lt;img&gt;">&lt;b&gt;<i><u>3</a>', ran.stderr


def test_the_drawer_says_why_an_action_was_chosen_as_long_as_it_is_shown(node: Node) -> None:
    """A decision says it once, when the action is new; a reason of another action is not said."""
    script = """
        import("../storefront/drawer.js").then(({ chosen }) => {
          const story = [{ action: "coupon", asked: ["41% likely"] }, { action: "coupon" },
            { action: "coupon", asked: [] }];
          const other = { action: "banner", asked: undefined };
          console.log(JSON.stringify([chosen("coupon", story), chosen("banner", [...story, other]),
            chosen("coupon", [...story, other, { action: "coupon", asked: ["52% likely"] }]), chosen("coupon", [])]));
        });"""
    ran = node.run("--experimental-default-type=module", "--input-type=module", "--eval", script)
    assert ran.stdout.strip() == '[["41% likely"],[],["52% likely"],[]]', ran.stderr
