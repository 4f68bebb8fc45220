// Parallel coordinates: an axis for each parameter that differs, and last the chosen figure. A range
// that is drawn on an axis filters the whole page. Plain SVG: it needs no WebGL, and no `eval`.
const SVG = "http://www.w3.org/2000/svg";
const SIDE = { left: 96, right: 60, top: 54, bottom: 26, height: 330 };
const MOST_AXES = 12;
// The values of an axis of words that have room for a label.
const MOST_WORDS = 14;

function svg(tag, attributes, text) {
  const made = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  if (text !== undefined) made.textContent = text;
  return made;
}

// An axis spans the values of all rows, also those that a filter leaves out. It is
// { column, kind: "linear" | "log" | "words", low, high, words }.
const axes = new Map();

function axisOf(key) {
  if (axes.has(key)) return axes.get(key);
  const column = columns.get(key);
  const values = allRows().map((row) => cell(row, key).value).filter((value) => value !== null);
  let axis;
  if (values.every(isNumber)) {
    const [low, high] = [Math.min(...values), Math.max(...values)];
    axis = { column, kind: low > 0 && high / low >= 20 ? "log" : "linear", low, high };
  } else {
    const words = [...new Set(values.map(String))].sort((a, b) => a.localeCompare(b, undefined, { numeric: true }));
    axis = { column, kind: "words", words };
  }
  axes.set(key, axis);
  return axis;
}

// Where a value lies on its axis, from 0 (below) to 1; null if it is missing.
function axisPlace(key, value) {
  const axis = axisOf(key);
  if (value === null) return null;
  if (axis.kind === "words") {
    const number = axis.words.indexOf(String(value));
    if (number < 0) return null;
    return axis.words.length === 1 ? 0.5 : number / (axis.words.length - 1);
  }
  if (!isNumber(value)) return null;
  if (axis.low === axis.high) return 0.5;
  if (axis.kind === "log") return Math.log(value / axis.low) / Math.log(axis.high / axis.low);
  return (value - axis.low) / (axis.high - axis.low);
}

function axisTicks(axis) {
  if (axis.kind === "words") {
    const step = Math.ceil(axis.words.length / MOST_WORDS);
    return axis.words.filter((_, number) => number % step === 0).map((word) => [word, word]);
  }
  const values = [];
  for (let share = 0; share <= 1.001; share += 0.25) {
    if (axis.kind === "log") values.push(axis.low * (axis.high / axis.low) ** share);
    else values.push(axis.low + (axis.high - axis.low) * share);
  }
  // Whole numbers that lie close have ticks of their own.
  if (axis.kind === "linear" && Number.isInteger(axis.low) && Number.isInteger(axis.high) && axis.high - axis.low <= 6) {
    values.length = 0;
    for (let value = axis.low; value <= axis.high; value += 1) values.push(value);
  }
  return [...new Set(values)].map((value) => [value, tickText(axis.column, value)]);
}

function tickText(column, value) {
  if (column.percent) return (100 * value).toFixed(1);
  if (Number.isInteger(value)) return numberText(value);
  return Math.abs(value) < 1e-3 ? value.toExponential(1) : String(Number(value.toPrecision(2)));
}

// The parameters that matter most for the chosen figure come first; the figure itself is last.
function parallelKeys() {
  const differing = data.columns.filter((column) => column.kind === "parameter" && column.differs);
  const known = data.importance[chosen.figure];
  const rank = new Map((known ? known.bars : []).map((bar, number) => [bar[0], number]));
  const keys = differing.map((column) => column.key);
  keys.sort((a, b) => (rank.get(a) ?? 1000) - (rank.get(b) ?? 1000));
  const most = keys.slice(0, MOST_AXES - 1);
  return chosen.figure ? [...most, chosen.figure] : most;
}

function renderParallel(matching, rows, colours) {
  const place = document.getElementById("parallel");
  const keys = parallelKeys();
  document.getElementById("parallel-section").hidden = keys.length < 2;
  if (keys.length < 2) return;
  const width = Math.max(place.clientWidth, 130 * (keys.length - 1) + SIDE.left + SIDE.right);
  const inner = SIDE.height - SIDE.top - SIDE.bottom;
  const x = (number) => SIDE.left + (number * (width - SIDE.left - SIDE.right)) / (keys.length - 1);
  // A value that is missing lies below the axis.
  const y = (share) => (share === null ? SIDE.height - 6 : SIDE.top + (1 - share) * inner);
  const picture = svg("svg", { width, height: SIDE.height, role: "img" });
  const kept = new Set(rows.map((row) => row.key));
  const lines = [...matching].sort((a, b) => lineOrder(a, kept) - lineOrder(b, kept));
  for (const row of lines) picture.append(parallelLine(row, keys, x, y, kept.has(row.key) ? colours.get(row.key) : null, rows.length));
  keys.forEach((key, number) => picture.append(parallelAxis(key, x(number), y, inner)));
  place.replaceChildren(picture);
}

// Rows outside a range are drawn below the others, and selected rows above them.
function lineOrder(row, kept) {
  if (!kept.has(row.key)) return 0;
  if (selected.has(row.key)) return 3;
  const value = chosen.figure ? cell(row, chosen.figure).value : null;
  if (!isNumber(value)) return 1;
  const share = axisPlace(chosen.figure, value);
  return 1 + (columns.get(chosen.figure).better === "min" ? 1 - share : share);
}

function parallelLine(row, keys, x, y, colour, count) {
  const points = keys.map((key, number) => `${x(number).toFixed(1)},${y(axisPlace(key, cell(row, key).value)).toFixed(1)}`);
  const isSelected = selected.has(row.key);
  const line = svg("polyline", {
    points: points.join(" "),
    class: `line${colour ? "" : " out"}${isSelected ? " selected" : ""}`,
    stroke: colour || "#e5e7eb",
    "data-key": row.key,
    "stroke-opacity": isSelected ? 1 : count > 60 ? 0.55 : 0.8,
  });
  line.append(svg("title", {}, row.name));
  line.addEventListener("mouseenter", () => highlight(row.key));
  line.addEventListener("mouseleave", () => highlight(null));
  line.addEventListener("click", () => {
    toggle(row.key);
    update();
  });
  return line;
}

function parallelAxis(key, x, y, inner) {
  const axis = axisOf(key);
  const group = svg("g", { class: `axis${key === chosen.figure ? " figure" : ""}`, transform: `translate(${x},0)`, "data-key": key });
  group.append(svg("line", { y1: y(0), y2: y(1) }));
  const label = svg("text", { y: 16, class: "name" }, shortened(axis.column.label, 20));
  label.append(svg("title", {}, key));
  group.append(label);
  if (axis.kind === "log") group.append(svg("text", { y: 30, class: "kind" }, "log"));
  for (const [value, text] of axisTicks(axis)) {
    const height = y(axisPlace(key, value));
    group.append(svg("line", { x1: -3, x2: 3, y1: height, y2: height }));
    const tick = svg("text", { x: -7, y: height + 4, class: "tick" }, shortened(text, 12));
    tick.append(svg("title", {}, text));
    group.append(tick);
  }
  if (allRows().some((row) => axisPlace(key, cell(row, key).value) === null)) {
    group.append(svg("text", { x: -7, y: y(null) + 3, class: "tick" }, "none"));
  }
  const range = brushes.get(key);
  if (range) group.append(svg("rect", { class: "range", x: -7, width: 14, y: y(range[1]), height: Math.max(y(range[0]) - y(range[1]), 2) }));
  const handle = svg("rect", { class: "handle", x: -14, width: 28, y: y(1) - 8, height: inner + 16 });
  handle.addEventListener("pointerdown", (event) => beginRange(event, key, handle, y, inner));
  group.append(handle);
  return group;
}

function shortened(text, most) {
  return text.length <= most ? text : `${text.slice(0, most - 1)}…`;
}

// Draw a range along an axis; a click without movement takes the range away.
function beginRange(event, key, handle, y, inner) {
  event.preventDefault();
  handle.setPointerCapture(event.pointerId);
  const top = handle.ownerSVGElement.getBoundingClientRect().top;
  const shareAt = (position) => Math.min(Math.max(1 - (position - top - SIDE.top) / inner, 0), 1);
  const start = shareAt(event.clientY);
  const drawn = svg("rect", { class: "range", x: -7, width: 14, y: y(start), height: 0 });
  handle.parentNode.insertBefore(drawn, handle);
  const range = (position) => [Math.min(start, shareAt(position)), Math.max(start, shareAt(position))];
  handle.onpointermove = (moved) => {
    const [low, high] = range(moved.clientY);
    drawn.setAttribute("y", y(high));
    drawn.setAttribute("height", y(low) - y(high));
  };
  handle.onpointerup = (ended) => {
    const [low, high] = range(ended.clientY);
    if (high - low < 0.01) brushes.delete(key);
    else brushes.set(key, [low - 1e-9, high + 1e-9]);
    update();
  };
}
