"use strict";
// Two models side by side: scores, differences, and images of the same place.
document.addEventListener("DOMContentLoaded", () => {
  const { models, metrics } = JSON.parse(document.getElementById("data").textContent);
  const [first, second] = ["first", "second"].map((id) => document.getElementById(id));
  const names = models.map((model) => model.name);
  for (const select of [first, second])
    names.forEach((name, at) => select.add(new Option(name, at)));
  const asked = new URLSearchParams(location.search);
  const start = (key, otherwise) => Math.max(names.indexOf(asked.get(key) ?? names[otherwise]), 0);
  first.value = start("a", 0);
  second.value = asked.has("b") || names.length < 2 ? start("b", 0) : Number(first.value) === 0 ? 1 : 0;

  // The ratio of the difference's error to that of independent models; negative where told apart.
  function between(metric, a, b) {
    if (a === b || metric.apart === null) return NaN;
    metric.bytes ??= Uint8Array.from(atob(metric.apart), (c) => c.charCodeAt(0));
    const [low, high] = a < b ? [a, b] : [b, a];
    const at = low * models.length - (low * (low + 1)) / 2 + (high - low - 1);
    return half(metric.bytes[2 * at] | (metric.bytes[2 * at + 1] << 8));
  }

  function half(bits) {
    const sign = bits & 0x8000 ? -1 : 1, power = (bits >> 10) & 31, rest = bits & 1023;
    if (power === 31) return rest ? NaN : sign * Infinity;
    return sign * (power ? 2 ** (power - 15) * (1 + rest / 1024) : 2 ** -24 * rest);
  }

  function withError(value, error, scale) {
    if (!(error > 0)) return signed(Number((value * scale).toPrecision(4)));
    const places = Math.min(100, Math.max(0, 1 - Math.floor(Math.log10(error * scale))));
    return `${signed((value * scale).toFixed(places))} ± ${(error * scale).toFixed(places)}`;
  }

  const signed = (number) => String(number).replace("-", "−");

  function cell(text, kind = "td") {
    const made = document.createElement(kind);
    made.textContent = text;
    return made;
  }

  function line(metric, at, a, b) {
    const row = document.createElement("tr");
    const name = cell(metric.heading, "th");
    name.scope = "row";
    const [x, y] = [models[a], models[b]];
    row.append(name, cell(x.texts[at]), cell(y.texts[at]));
    const known = x.values[at] !== null && y.values[at] !== null;
    const ratio = known ? between(metric, a, b) : NaN;
    const own = Math.hypot(x.errors[at] ?? NaN, y.errors[at] ?? NaN);
    const value = known ? x.values[at] - y.values[at] : NaN;
    const error = Math.abs(ratio) * own;
    row.append(cell(!known ? "–" : withError(value, Number.isNaN(error) ? 0 : error, metric.scale)));
    let told = "–", winner = null;
    if (!metric.ranks) told = "no better side";
    else if (a === b) told = "the same model";
    else if (Number.isNaN(ratio)) told = "not known";
    else if (ratio >= 0) told = "no";
    else {
      winner = value < 0 === metric.lower ? 0 : 1;
      told = `${models[winner ? b : a].name} is better`;
    }
    row.append(cell(told));
    if (winner !== null) row.children[1 + winner].className = "best";
    return { row, winner, counted: metric.ranks && !Number.isNaN(ratio) };
  }

  function tile(model, at) {
    const sheet = model.sheet;
    const shown = document.createElement("span");
    const [wide, tall] = sheet.tile;
    const zoom = sheet.pixelated ? Math.max(1, Math.round(72 / wide)) : 1;
    shown.style.cssText =
      `width:${wide * zoom}px;height:${tall * zoom}px;` +
      `background-size:${sheet.size[0] * zoom}px ${sheet.size[1] * zoom}px;` +
      `background-position:${-(at % sheet.across) * sheet.step[0] * zoom}px ` +
      `${-Math.floor(at / sheet.across) * sheet.step[1] * zoom}px;` +
      (sheet.pixelated ? "image-rendering:pixelated;" : "");
    shown.style.backgroundImage = `url("${sheet.file}")`;
    shown.setAttribute("role", "img");
    shown.setAttribute("aria-label", `image ${at} of ${model.name}`);
    return shown;
  }

  function images(x, y) {
    const pairs = document.getElementById("pairs"), told = document.getElementById("seeds");
    pairs.replaceChildren();
    if (!x.sheet || !y.sheet) {
      told.textContent = `There are no pictures of ${!x.sheet ? x.name : y.name}.`;
      return;
    }
    const same = x.seeds !== null && x.seeds === y.seeds;
    told.textContent = same
      ? `${x.name} on the left of each pair, ${y.name} on the right: the same seed for both.`
      : `${x.name} on the left of each pair, ${y.name} on the right. They do not share seeds: the pairs are only of the same place.`;
    for (let at = 0; at < Math.min(x.sheet.count, y.sheet.count); at++) {
      const pair = document.createElement("li");
      pair.append(tile(x, at), tile(y, at));
      pairs.append(pair);
    }
  }

  function show() {
    const [a, b] = [Number(first.value), Number(second.value)];
    document.getElementById("name-a").textContent = names[a];
    document.getElementById("name-b").textContent = names[b];
    const lines = metrics.map((metric, at) => line(metric, at, a, b));
    document.getElementById("lines").replaceChildren(...lines.map((one) => one.row));
    const counted = lines.filter((one) => one.counted).length;
    const wins = [0, 1].map((side) => lines.filter((one) => one.winner === side).length);
    const of = `of ${counted} metrics`;
    document.getElementById("verdict").textContent =
      a === b ? "Choose two different models."
      : !counted ? "What is known does not tell whether the two differ."
      : !wins[0] && !wins[1] ? `The two are not told apart on any ${of}.`
      : [0, 1].filter((side) => wins[side])
          .map((side) => `${names[side ? b : a]} is better on ${wins[side]} ${of}`).join("; ") + ".";
    images(models[a], models[b]);
    const url = new URL(location);
    url.searchParams.set("a", names[a]);
    url.searchParams.set("b", names[b]);
    history.replaceState(null, "", url);
  }

  document.getElementById("swap").addEventListener("click", () => {
    [first.value, second.value] = [second.value, first.value];
    show();
  });
  for (const select of [first, second]) select.addEventListener("change", show);
  if (names.length) show();
});
