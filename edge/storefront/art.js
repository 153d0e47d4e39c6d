// The products are drawn: flat shapes in two or three colours on a soft shadow, all in a 400 by 400 box.

const shadow = (y, rx) => `<ellipse cx="200" cy="${y}" rx="${rx}" ry="${rx / 9}" fill="#2a2420" opacity=".13"/>`;
const path = (d, fill, more = "") => `<path d="${d}" fill="${fill}" ${more}/>`;
const line = (d, stroke, width, more = "") =>
  `<path d="${d}" fill="none" stroke="${stroke}" stroke-width="${width}" stroke-linecap="round" stroke-linejoin="round" ${more}/>`;
const circle = (x, y, r, fill, more = "") => `<circle cx="${x}" cy="${y}" r="${r}" fill="${fill}" ${more}/>`;
const rect = (x, y, w, h, r, fill, more = "") =>
  `<rect x="${x}" y="${y}" width="${w}" height="${h}" rx="${r}" fill="${fill}" ${more}/>`;

const glow = (x, y, r) => circle(x, y, r, "#ffe9b0", 'opacity=".45"') + circle(x, y, r * 0.62, "#fff3cf", 'opacity=".7"');

const LAMPS = [
  (a, b, c) => // pendant
    line("M200 0V96", c, 5) + glow(200, 262, 92) + path("M92 250C92 160 140 96 200 96s108 64 108 154Z", a) +
    path("M92 250C92 160 140 96 200 96c-34 22-56 82-56 154Z", b, 'opacity=".55"') + rect(88, 246, 224, 12, 6, c),
  (a, b, c) => // mushroom
    shadow(352, 92) + glow(200, 216, 118) + path("M172 190h56l16 140c2 14-8 20-44 20s-46-6-44-20Z", b) +
    path("M72 196C72 122 128 72 200 72s128 50 128 124c0 12-58 20-128 20S72 208 72 196Z", a) +
    path("M108 176c6-46 40-78 84-84", "none", `stroke="${c}" stroke-width="7" stroke-linecap="round" opacity=".55"`),
  (a, b, c) => // desk
    shadow(352, 104) + rect(112, 336, 150, 16, 8, b) + line("M188 336 148 208 252 118", c, 9) + circle(148, 208, 11, b) +
    circle(252, 118, 11, b) + glow(302, 188, 62) + path("M236 96l58-20c12 42 34 66 66 84l-96 54c-24-32-34-72-28-118Z", a),
  (a, b, c) => // globe
    shadow(360, 84) + rect(194, 236, 12, 110, 4, c) + rect(136, 340, 128, 16, 8, c) + glow(200, 150, 138) +
    circle(200, 150, 96, a) + path("M200 54a96 96 0 0 1 0 192c38-30 56-62 56-96s-18-66-56-96Z", b, 'opacity=".5"'),
  (a, b, c) => // pleated
    shadow(352, 78) + path("M176 232h48v92c20 4 34 12 34 24H142c0-12 14-20 34-24Z", c) + glow(200, 220, 100) +
    path("M140 84h120l44 148H96Z", a) +
    [0, 1, 2, 3, 4, 5].map((i) => line(`M${150 + i * 20} 88 ${116 + i * 33.6} 228`, b, 5, 'opacity=".5"')).join(""),
];

const CHAIRS = [
  (a, b, c) => // spindle
    shadow(358, 110) + line("M126 226 100 352M274 226l26 126M152 232l-8 108M248 232l8 108", c, 12) +
    line("M128 216 116 84M272 216l12-132", a, 13) + line("M112 86c56-20 120-20 176 0", a, 18) +
    [0, 1, 2, 3].map((i) => line(`M${152 + i * 32} 212 ${146 + i * 36} 84`, b, 7)).join("") +
    path("M104 216c0-14 44-20 96-20s96 6 96 20-26 24-96 24-96-10-96-24Z", a),
  (a, b, c) => // shell
    shadow(360, 112) + line("M170 260 128 354M230 260l42 94M186 262l-14 84M214 262l14 84", c, 9) +
    path("M88 150c0-52 50-84 112-84s112 32 112 84c0 24-12 34-20 66-8 34-34 56-92 56s-84-22-92-56c-8-32-20-42-20-66Z", a) +
    path("M120 206c20-16 50-24 80-24s60 8 80 24c-6 36-32 52-80 52s-74-16-80-52Z", b),
  (a, b, c) => // stool
    shadow(360, 86) + line("M150 170 116 354M250 170l34 184M186 176l-8 176M214 176l8 176", c, 11) +
    line("M132 284h136", c, 8) + path("M104 152c0-20 42-28 96-28s96 8 96 28v10c0 20-42 26-96 26s-96-6-96-26Z", a) +
    path("M104 152c0-20 42-28 96-28s96 8 96 28-42 22-96 22-96-2-96-22Z", b),
  (a, b, c) => // lounge
    shadow(360, 132) + line("M118 286 92 354M292 286l24 68", c, 13) +
    path("M66 128c-4-28 22-42 44-26 18 14 22 44 28 82l14 52h140c26 0 40 14 40 32 0 20-16 32-40 32H132c-26 0-38-16-44-42Z", a) +
    path("M150 226h146c18 0 30 8 34 20-54 14-120 16-186 10-6-18-4-30 6-30Z", b),
  (a, b, c) => // bench
    shadow(352, 146) + line("M92 220 76 346M308 220l16 126M120 224l-6 112M280 224l6 112", c, 12) +
    rect(52, 186, 296, 40, 14, a) + [0, 1, 2, 3, 4].map((i) => rect(66 + i * 56, 176, 48, 22, 8, b)).join(""),
];

const VASES = [
  (a, b) => // bottle
    shadow(352, 74) + path("M178 60h44c4 58 0 92 18 124 22 38 40 62 40 104 0 42-26 64-80 64s-80-22-80-64c0-42 18-66 40-104 18-32 14-66 18-124Z", a) +
    path("M178 60h12c0 60-6 96-22 128-18 36-30 58-30 100 0 26 8 46 24 58-28-10-42-30-42-58 0-42 18-66 40-104 18-32 14-66 18-124Z", b) +
    rect(170, 50, 60, 16, 8, b),
  (a, b, c) => // bulb with a branch
    line("M204 176C196 110 216 74 246 32M206 136c-18-22-36-30-58-32M216 96c18-8 34-10 52-6", c, 5) +
    [[246, 32], [148, 104], [268, 90], [172, 82], [238, 62]].map(([x, y]) => circle(x, y, 13, b)).join("") + shadow(354, 96) +
    path("M172 168h56c2 22 16 30 44 48 26 18 36 38 36 64 0 46-42 72-108 72S92 326 92 280c0-26 10-46 36-64 28-18 42-26 44-48Z", a),
  (a, b, c) => // cylinder
    shadow(356, 82) + rect(124, 84, 152, 270, 22, a) + rect(124, 140, 152, 26, 0, b) + rect(124, 190, 152, 10, 0, c) +
    rect(124, 224, 152, 44, 0, b) + `<ellipse cx="200" cy="92" rx="76" ry="16" fill="${c}" opacity=".55"/>`,
  (a, b, c) => // amphora
    shadow(356, 66) + line("M168 96c-60-6-80 50-40 92M232 96c60-6 80 50 40 92", b, 13) +
    path("M164 64h72l-8 40c44 22 70 60 62 118-8 62-40 112-62 130h-56c-22-18-54-68-62-130-8-58 18-96 62-118Z", a) +
    line("M112 214c58 16 118 16 176 0M118 240c54 14 110 14 164 0", c, 6),
  (a, b) => // moon
    shadow(354, 92) + circle(200, 220, 132, a) + path("M200 88a132 132 0 1 0 0 264c-52-34-78-78-78-132s26-98 78-132Z", b, 'opacity=".6"') +
    rect(160, 64, 80, 40, 12, a) + `<ellipse cx="200" cy="70" rx="36" ry="9" fill="${b}"/>`,
];

const TABLE = [
  (a, b, c) => // mug
    shadow(330, 98) + line("M268 172c62-8 74 94-6 100", b, 22) + rect(112, 132, 164, 196, 30, a) + rect(112, 210, 164, 14, 0, c) +
    `<ellipse cx="194" cy="140" rx="80" ry="16" fill="${b}"/>`,
  (a, b, c) => // teapot
    shadow(330, 118) + line("M104 206c-62-18-70 74 12 76", b, 18) + path("M276 232c40-4 44-40 66-70l18 12c-14 44-22 88-70 104Z", b) +
    path("M108 232c0-58 40-92 92-92s92 34 92 92c0 62-32 96-92 96s-92-34-92-96Z", a) + path("M140 146c6-22 30-34 60-34s54 12 60 34c-30 12-90 12-120 0Z", c) +
    circle(200, 104, 14, b),
  (a, b, c) => // bowls
    shadow(330, 128) + path("M84 228h232c0 66-44 100-116 100S84 294 84 228Z", a) + `<ellipse cx="200" cy="228" rx="116" ry="22" fill="${b}"/>` +
    path("M118 150h164c0 48-30 74-82 74s-82-26-82-74Z", c) + `<ellipse cx="200" cy="150" rx="82" ry="17" fill="${a}"/>`,
  (a, b, c) => // pitcher
    shadow(348, 84) + line("M262 132c76-14 80 122 4 126", b, 18) +
    path("M140 84h92l32-18-8 50c12 40 22 76 22 130 0 66-26 102-82 102s-82-36-82-102c0-64 18-98 26-162Z", a) +
    path("M118 230c54 20 104 20 158 2 2 78-22 116-80 116s-80-38-78-118Z", c),
  (a, b, c) => // plates
    shadow(316, 132) + `<ellipse cx="200" cy="292" rx="142" ry="26" fill="${b}"/><ellipse cx="200" cy="274" rx="136" ry="25" fill="${c}"/>` +
    `<ellipse cx="200" cy="256" rx="130" ry="24" fill="${b}"/><ellipse cx="200" cy="236" rx="124" ry="23" fill="${a}"/>` +
    `<ellipse cx="200" cy="233" rx="84" ry="14" fill="none" stroke="${b}" stroke-width="5"/>` + circle(222, 196, 32, c) + line("M222 164c2-12 10-20 20-24", b, 6),
];

const hands = (x, y, r, c) => line(`M${x} ${y}V${y - r * 0.62}M${x} ${y}l${r * 0.44} ${r * 0.26}`, c, 8) + circle(x, y, 9, c);
const marks = (x, y, r, c, n = 12) =>
  Array.from({ length: n }, (_, i) => {
    const [sin, cos] = [Math.sin((i * 2 * Math.PI) / n), Math.cos((i * 2 * Math.PI) / n)];
    return line(`M${(x + sin * r).toFixed(1)} ${(y - cos * r).toFixed(1)}l${(sin * 14).toFixed(1)} ${(-cos * 14).toFixed(1)}`, c, 6);
  }).join("");

const CLOCKS = [
  (a, b, c) => circle(200, 206, 142, "#2a2420", 'opacity=".1"') + circle(200, 200, 140, a) + circle(200, 200, 118, b) + marks(200, 200, 92, c) + hands(200, 200, 100, c),
  (a, b, c) => // sun
    Array.from({ length: 16 }, (_, i) => `<rect x="193" y="28" width="14" height="${i % 2 ? 58 : 80}" rx="7" fill="${i % 2 ? b : a}" transform="rotate(${i * 22.5} 200 200)"/>`).join("") +
    circle(200, 200, 92, a) + circle(200, 200, 74, "#fbf6ea") + hands(200, 200, 78, c),
  (a, b, c) => rect(66, 72, 268, 268, 40, "#2a2420", 'opacity=".1"') + rect(66, 66, 268, 268, 40, a) + path("M66 200h134v134h-94c-24 0-40-16-40-40Z", b) + marks(200, 200, 100, c, 4) + hands(200, 200, 110, c),
  (a, b, c) => // pendulum
    line("M200 210V322", c, 6) + circle(200, 330, 28, b) + path("M200 46 316 132V242H84V132Z", a) + circle(200, 164, 62, "#fbf6ea") + hands(200, 164, 66, c),
  (a, b, c) => // mantel
    shadow(332, 136) + path("M76 324V200C76 130 130 76 200 76s124 54 124 124v124Z", a) + rect(60, 314, 280, 20, 8, b) + circle(200, 204, 84, "#fbf6ea") + marks(200, 204, 60, c, 12) + hands(200, 204, 76, c),
];

const pot = (a, b, top = 236) => shadow(358, 86) + path(`M118 ${top}h164l-18 104c-2 12-10 16-22 16h-84c-12 0-20-4-22-16Z`, a) + rect(108, top - 16, 184, 32, 10, b);
const leaf = (x, y, angle, length, width, fill) =>
  `<path d="M0 0C${-width} ${-length * 0.35} ${-width * 0.8} ${-length * 0.8} 0 ${-length}C${width * 0.8} ${-length * 0.8} ${width} ${-length * 0.35} 0 0Z" fill="${fill}" transform="translate(${x} ${y}) rotate(${angle})"/>`;

const PLANTS = [
  (a, b, c) => [-58, -30, 0, 28, 56].map((angle, i) => leaf(200, 232, angle, 150 + (i % 2) * 34, 44, i % 2 ? c : "#5d7f57")).join("") + pot(a, b),
  (a, b, c) => [-24, -10, 4, 18, 30].map((angle, i) => leaf(176 + i * 12, 232, angle, 186 - Math.abs(2 - i) * 24, 18, i % 2 ? c : "#7d9a63")).join("") + pot(a, b),
  (a, b, c) => rect(166, 92, 68, 150, 34, c) + rect(112, 132, 40, 76, 20, c) + rect(130, 176, 60, 28, 14, c) + rect(248, 112, 40, 82, 20, c) + rect(214, 164, 60, 28, 14, c) +
    [104, 134, 164, 194].map((y) => line(`M186 ${y}v10M214 ${y + 12}v10`, "#f4efe4", 4, 'opacity=".7"')).join("") + circle(200, 86, 13, "#d9825b") + pot(a, b),
  (a, b, c) => line("M200 236C196 190 206 150 198 112", "#7b5b43", 10) + [[198, 84, 56], [146, 116, 42], [254, 112, 44], [172, 64, 38], [232, 62, 36]].map(([x, y, r], i) => circle(x, y, r, i % 2 ? "#7d9a63" : c)).join("") + pot(a, b),
  (a, b, c) => // hanging
    line("M200 0 116 150M200 0l84 150M200 0v150", "#8a7763", 4) + path("M112 146h176l-20 88c-4 16-14 22-30 22h-76c-16 0-26-6-30-22Z", a) + rect(104, 136, 192, 26, 10, b) +
    [[128, 168, 172], [164, 172, 184], [236, 170, 178], [270, 168, 194], [200, 176, 181]].map(([x, y, turn], i) =>
      line(`M${x} 160v${60 + i * 18}`, c, 5) + [0, 1, 2].map((k) => leaf(x, y + 24 + k * (18 + i * 4), turn - 130 + (k % 2) * 80, 30, 12, k % 2 ? c : "#7d9a63")).join("")).join(""),
];

const DRAWINGS = { lamps: LAMPS, chairs: CHAIRS, vases: VASES, tableware: TABLE, clocks: CLOCKS, plants: PLANTS };

/** The product's picture as SVG text; every part of it comes from the catalogue, nothing from a shopper. */
export function picture(product) {
  const [a, b, c] = product.colours;
  const drawing = DRAWINGS[product.category][product.shape](a, b, c);
  return `<svg viewBox="0 0 400 400" role="img" aria-label="${product.name}"><rect width="400" height="400" fill="${product.ground}"/>${drawing}</svg>`;
}
