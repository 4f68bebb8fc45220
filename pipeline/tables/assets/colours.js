// The colour of a row, the same in the table and in every chart.
const FEW = ["#1f5fbf", "#d9622b", "#2a8f6f", "#8a4fbf", "#b8860b", "#c2347a", "#4b9cd3", "#6b7280", "#7a9a1f", "#7c4a2d"];
const SELECTED = ["#d9622b", "#c2347a", "#8a4fbf", "#b8860b", "#7c4a2d", "#e0457b", "#a34a00", "#5b2a86"];
// From bad to good. Bad is pale, so that good stands out on white.
const SCALE = ["#c9e6c0", "#7fcdbb", "#41b6c4", "#1d91c0", "#225ea8", "#253494", "#081d58"];
const MISSING = "#c4c9d1";

function channels(colour) {
  return [1, 3, 5].map((start) => parseInt(colour.slice(start, start + 2), 16));
}

// The colour at a share (0 to 1) of the scale.
function onScale(share) {
  const place = Math.min(Math.max(share, 0), 1) * (SCALE.length - 1);
  const lower = Math.min(Math.floor(place), SCALE.length - 2);
  const [a, b] = [channels(SCALE[lower]), channels(SCALE[lower + 1])];
  const mixed = a.map((value, channel) => Math.round(value + (b[channel] - value) * (place - lower)));
  return `rgb(${mixed.join(",")})`;
}

// By its place among the others, 0 the worst and 1 the best, so that one bad run does not leave the
// same colour for all others.
function ranksOf(rows, key) {
  const sign = columns.get(key).better === "min" ? -1 : 1;
  const known = rows.filter((row) => isNumber(cell(row, key).value));
  known.sort((a, b) => sign * (cell(a, key).value - cell(b, key).value));
  return new Map(known.map((row, place) => [row.key, known.length === 1 ? 1 : place / (known.length - 1)]));
}

function isFew(rows) {
  return rows.length <= FEW.length;
}

// Row key -> colour.
function coloursOf(rows) {
  const found = new Map();
  const ranks = chosen.figure ? ranksOf(rows, chosen.figure) : new Map();
  rows.forEach((row, number) => {
    if (isFew(rows)) found.set(row.key, FEW[number]);
    else found.set(row.key, ranks.has(row.key) ? onScale(ranks.get(row.key)) : MISSING);
  });
  if (!isFew(rows)) {
    [...selected].forEach((key, number) => {
      if (found.has(key)) found.set(key, SELECTED[number % SELECTED.length]);
    });
  }
  return found;
}
