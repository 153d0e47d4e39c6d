// Thirty things for a home. Prices in euro. What the reviews say is made up, like the shop.

export const CATEGORIES = {
  lamps: { name: "Lamps", text: "Light that asks you to stay." },
  chairs: { name: "Chairs", text: "Built to be sat in for decades." },
  vases: { name: "Vases", text: "Good with flowers. Good without." },
  tableware: { name: "Tableware", text: "For every day, not for Sundays." },
  clocks: { name: "Clocks", text: "Quiet movements, plain faces." },
  plants: { name: "Plants", text: "Hard to kill, easy to love." },
};

const GROUNDS = { lamps: "#efe4d2", chairs: "#e4e6dc", vases: "#efdfd6", tableware: "#e2e7ea", clocks: "#f0e8cf", plants: "#e3eadd" };

const CLAY = ["#c4704f", "#a4553a", "#6e3a2a"];
const OAK = ["#c99a62", "#a87a48", "#6b4b2f"];
const INK = ["#3d4a52", "#2b363d", "#1e262b"];
const SAGE = ["#8fa285", "#728669", "#4e6048"];
const CREAM = ["#f5ecdb", "#ded0b6", "#8a7763"];
const PLUM = ["#8b5a6b", "#6d4353", "#472c37"];
const OCHRE = ["#d9a441", "#b8842a", "#5f4720"];
const SEA = ["#5b8a94", "#43707a", "#2d4d55"];
const GREEN = "#48694a";

// id, name, price, shape, colours, material, size, made in, care, stars, blurb
const ROWS = {
  lamps: [
    ["Halo", 129, 0, [...CLAY], "Spun aluminium", "⌀ 38 cm", "Portugal", "Dry cloth", 4.6, "A pendant that keeps its light to itself: warm on the table, dark above."],
    ["Morel", 89, 1, ["#d9825b", "#f5ecdb", "#fff3e0"], "Opal glass", "32 × 28 cm", "Czechia", "Soap and water", 4.8, "Mouth-blown, dimmable, and never quite switched off."],
    ["Tilt", 74.5, 2, [...SEA], "Steel", "46 cm", "Denmark", "Dry cloth", 4.3, "Two joints, one screw, no fuss. Points where you point it."],
    ["Full Moon", 149, 3, ["#fdf3da", "#e8d3a0", "#6b4b2f"], "Paper and oak", "60 × 34 cm", "Japan", "Feather duster", 4.7, "Washi over a bamboo frame, on a foot of solid oak."],
    ["Pleat", 98, 4, [...CREAM], "Linen", "52 × 36 cm", "Italy", "Vacuum on low", 4.4, "Forty-two folds, each pressed by hand."],
  ],
  chairs: [
    ["Spoke", 189, 0, [...OAK], "Solid oak", "82 × 46 cm", "Poland", "Oil once a year", 4.5, "A kitchen chair as it was before there were designers."],
    ["Cockle", 249, 1, ["#8fa285", "#a9b99f", "#6b4b2f"], "Wool on beech", "78 × 62 cm", "Denmark", "Brush", 4.7, "It holds you a little. You will notice when you get up."],
    ["Perch", 95, 2, [...OCHRE], "Ash, leather", "66 × 38 cm", "Portugal", "Saddle soap", 4.2, "For the counter, the easel, and the phone call that takes longer."],
    ["Drift", 420, 3, ["#3d4a52", "#55656f", "#a87a48"], "Steel, wool", "74 × 98 cm", "Sweden", "Brush", 4.9, "Low, long, and hard to leave."],
    ["Hallway", 210, 4, ["#a87a48", "#c99a62", "#6b4b2f"], "Solid oak", "44 × 120 cm", "Poland", "Oil once a year", 4.4, "Somewhere to put on your shoes for the next thirty years."],
  ],
  vases: [
    ["Dune", 48, 0, [...CLAY], "Stoneware", "31 cm", "Portugal", "Rinse", 4.5, "One stem is enough. It was made for one."],
    ["Almond", 62, 1, ["#e8d9c0", "#d9825b", "#6b4b2f"], "Stoneware", "24 cm", "Spain", "Rinse", 4.6, "Wide below, narrow above: branches stand as you put them."],
    ["Stripe", 39.9, 2, ["#f5ecdb", "#43707a", "#d9a441"], "Earthenware", "28 cm", "Portugal", "Dishwasher", 4.1, "Painted on the wheel, so no two bands are level."],
    ["Handle", 84, 3, ["#d9a441", "#b8842a", "#f5ecdb"], "Terracotta", "36 cm", "Greece", "Rinse", 4.7, "Two and a half thousand years old, as an idea."],
    ["Full", 110, 4, ["#f2ebe0", "#cdbfae", "#8a7763"], "Porcelain", "30 cm", "Korea", "Rinse", 4.9, "Thrown in two halves and joined. You can find the seam if you look."],
  ],
  tableware: [
    ["Morning mug", 24, 0, ["#5b8a94", "#43707a", "#f5ecdb"], "Stoneware", "0.35 l", "Portugal", "Dishwasher", 4.7, "Heavy at the bottom. It stays where the cat is not."],
    ["Long pot", 68, 1, ["#f0e3cc", "#3d4a52", "#d9825b"], "Porcelain", "1.1 l", "Japan", "Rinse", 4.6, "Pours to the last drop without a drop beside it."],
    ["Nest", 52, 2, ["#8b5a6b", "#6d4353", "#d9a441"], "Stoneware", "2 bowls", "Portugal", "Dishwasher", 4.4, "A big one and a small one that live in each other."],
    ["Jug", 46, 3, ["#f5ecdb", "#c4704f", "#c4704f"], "Earthenware", "1.4 l", "Spain", "Dishwasher", 4.3, "Water, wine, flowers, wooden spoons."],
    ["Four plates", 76, 4, ["#f7f1e4", "#b9c4c8", "#c4704f"], "Stoneware", "⌀ 26 cm", "Portugal", "Dishwasher", 4.5, "Four, because that is how many matching plates survive."],
  ],
  clocks: [
    ["Plain", 64, 0, ["#3d4a52", "#fbf6ea", "#2b363d"], "Steel, glass", "⌀ 30 cm", "Germany", "Dry cloth", 4.6, "Hours, minutes, silence."],
    ["Noon", 92, 1, ["#d9a441", "#c4704f", "#4a352a"], "Brass", "⌀ 42 cm", "Italy", "Dry cloth", 4.2, "The sun, on the days when it does not come itself."],
    ["Quarter", 58, 2, ["#8fa285", "#728669", "#f5ecdb"], "Beech", "26 × 26 cm", "Denmark", "Dry cloth", 4.3, "Four marks. You know the rest."],
    ["Little house", 119, 3, ["#c4704f", "#d9a441", "#4a352a"], "Lime wood", "38 × 26 cm", "Germany", "Dry cloth", 4.5, "A pendulum, but no cuckoo. We asked the neighbours."],
    ["Mantel", 134, 4, ["#8b5a6b", "#6d4353", "#472c37"], "Walnut", "28 × 28 cm", "England", "Wax", 4.7, "Wind it on Sundays, and it forgives you until Tuesday."],
  ],
  plants: [
    ["Monstera", 36, 0, ["#c4704f", "#a4553a", "#48694a"], "Terracotta pot", "60 cm", "Netherlands", "Water weekly", 4.6, "Grows towards the window and past it."],
    ["Snake plant", 29, 1, ["#3d4a52", "#2b363d", GREEN], "Glazed pot", "55 cm", "Netherlands", "Water monthly", 4.8, "Asks for nothing. Thrives on it."],
    ["Cactus", 19.5, 2, ["#f0e3cc", "#ded0b6", "#5d8a5f"], "Glazed pot", "30 cm", "Spain", "Forget it", 4.4, "One flower a year, always when you are away."],
    ["Olive tree", 78, 3, ["#b9c4c8", "#94a3a8", "#5d7f57"], "Stone pot", "90 cm", "Italy", "Water weekly", 4.3, "Give it the balcony and a hundred years."],
    ["String of leaves", 33, 4, ["#d9a441", "#b8842a", "#5d7f57"], "Hanging pot", "70 cm", "Netherlands", "Water weekly", 4.5, "Hang it high and let it come down in its own time."],
  ],
};

export const PRODUCTS = Object.entries(ROWS).flatMap(([category, rows]) =>
  rows.map(([name, price, shape, colours, material, size, origin, care, stars, blurb]) => ({
    id: name.toLowerCase().replaceAll(" ", "-"),
    name, price, shape, colours, category, blurb, stars,
    ground: GROUNDS[category],
    facts: { Material: material, Size: size, "Made in": origin, Care: care, Warranty: price >= 100 ? "10 years" : "3 years" },
  })),
);

const BY_ID = new Map(PRODUCTS.map((product) => [product.id, product]));

export function productOf(id) {
  return BY_ID.get(id);
}

/** Every word of the query must be found somewhere in the product. */
export function search(query) {
  const words = query.toLowerCase().split(/\s+/).filter(Boolean);
  const textOf = (p) => [p.name, CATEGORIES[p.category].name, p.blurb, ...Object.values(p.facts)].join(" ").toLowerCase();
  return PRODUCTS.filter((product) => words.every((word) => textOf(product).includes(word)));
}

const VOICES = [
  ["Ines", 5, "Bought one, came back for a second. It looks better here than in the pictures."],
  ["Teun", 4, "Well packed, well made. A little smaller than I had thought, so measure first."],
  ["Maja", 5, "My grandmother had one like it. Hers has lasted sixty years."],
  ["Oskar", 4, "Good. Delivery took two days longer than promised, and they wrote to tell me."],
  ["Lucía", 5, "The colour is warmer in daylight. I moved a shelf for it."],
  ["Henrik", 3, "Fine, but mind the care instructions. I did not."],
  ["Aoife", 5, "Everyone asks where it is from."],
];

/** Three reviews of a product, always the same ones. */
export function reviewsOf(product) {
  const start = PRODUCTS.indexOf(product) * 3;
  return [0, 1, 2].map((i) => VOICES[(start + i * 2) % VOICES.length]).map(([who, stars, text]) => ({ who, stars, text }));
}

export const TRENDING = ["morel", "cockle", "full", "snake-plant", "full-moon", "plain"].map(productOf);
export const FREE_SHIPPING_FROM = 50;
export const SHIPPING = 4.9;
