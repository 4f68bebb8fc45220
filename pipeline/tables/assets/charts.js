// The charts that Plotly draws: curves over time, a figure over a cost or a parameter, importance.
const INK = "#1b1f24";
const MUTED = "#6b7280";
const GRID = "#e9ebef";
const MOST_CURVES = 300;
// With so few rows there is room for names, and for the deviation over seeds.
const FEW_NAMES = 10;
const FEW_BANDS = 6;
const SETTINGS = {
  displaylogo: false,
  responsive: true,
  modeBarButtonsToRemove: ["lasso2d", "select2d", "autoScale2d", "zoomIn2d", "zoomOut2d"],
};

function layout(changes) {
  const axis = { gridcolor: GRID, zeroline: false, linecolor: GRID, tickfont: { color: MUTED }, automargin: true, exponentformat: "e" };
  return {
    font: { family: "system-ui, sans-serif", size: 12, color: INK },
    margin: { l: 56, r: 16, t: 10, b: 46 },
    paper_bgcolor: "white",
    plot_bgcolor: "white",
    hovermode: "closest",
    hoverlabel: { bgcolor: "white", bordercolor: "#c4c9d1", font: { color: INK, size: 12 }, align: "left" },
    showlegend: false,
    legend: { orientation: "h", y: -0.2, font: { size: 11 } },
    ...changes,
    xaxis: { ...axis, ...changes.xaxis },
    yaxis: { ...axis, ...changes.yaxis },
  };
}

// Plotly reads a few tags in texts. Names are letters, whatever they hold.
function plain(text) {
  return String(text).replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
}

function transparent(colour, opacity) {
  const values = colour.startsWith("#") ? channels(colour) : colour.match(/\d+/g).slice(0, 3);
  return `rgba(${[...values].join(",")},${opacity})`;
}

function rowTitle(row) {
  const lines = [`<b>${plain(row.name)}</b>`];
  if (chosen.figure) {
    const column = columns.get(chosen.figure);
    const text = cellText(column, cell(row, chosen.figure));
    if (text) lines.push(`${plain(column.label)}: ${text}`);
  }
  for (const key of parallelKeys().slice(0, 6)) {
    if (key === chosen.figure) continue;
    const column = columns.get(key);
    lines.push(`${plain(column.label)}: ${plain(valueText(column, cell(row, key).value))}`);
  }
  return lines.join("<br>");
}

// ---- Curves ----
// The curve of a row: its mean over the finished seeds, at the steps that all of them have.
function curveOf(row, lines) {
  const finished = row.runs.filter((number) => data.runs[number].state === "finished");
  const members = (finished.length ? finished : row.runs).map((number) => lines[number]).filter(Boolean);
  if (!members.length) return null;
  if (members.length === 1) return { steps: data.steps[members[0][0]], values: members[0][1], spread: null };
  const maps = members.map(([steps, values]) => new Map(data.steps[steps].map((step, position) => [step, values[position]])));
  const steps = [...maps[0].keys()].filter((step) => maps.every((map) => map.has(step)));
  const columnsOfValues = steps.map((step) => maps.map((map) => map.get(step)));
  return { steps, values: columnsOfValues.map(mean), spread: columnsOfValues.map(deviation) };
}

// An exponential mean, without the pull towards its first value.
function smoothed(values) {
  if (!chosen.smooth) return values;
  let sum = 0;
  let weight = 0;
  return values.map((value) => {
    sum = chosen.smooth * sum + (1 - chosen.smooth) * value;
    weight = chosen.smooth * weight + (1 - chosen.smooth);
    return sum / weight;
  });
}

function renderCurves(rows, colours) {
  const lines = data.curves[chosen.metric] || {};
  const factor = data.percentCurves.includes(chosen.metric) ? 100 : 1;
  const traces = [];
  const drawn = rows.slice(0, MOST_CURVES).reverse();
  drawn.sort((a, b) => selected.has(a.key) - selected.has(b.key));
  for (const row of drawn) {
    const curve = curveOf(row, lines);
    if (!curve || !curve.steps.length) continue;
    const colour = colours.get(row.key);
    const values = smoothed(curve.values.map((value) => factor * value));
    const hasBand = curve.spread && !chosen.smooth && (rows.length <= FEW_BANDS || selected.has(row.key));
    if (hasBand) traces.push(band(curve, values, colour, factor));
    const title = rowTitle(row);
    const isStrong = selected.has(row.key) || isFew(rows);
    traces.push({
      type: "scatter",
      mode: curve.steps.length === 1 ? "markers" : "lines",
      uid: uidOf(row),
      x: curve.steps,
      y: values,
      name: plain(row.name),
      meta: row.key,
      line: { color: colour, width: selected.has(row.key) ? 3 : isFew(rows) ? 1.8 : 1 },
      opacity: isStrong ? 1 : selected.size ? 0.35 : 0.75,
      showlegend: rows.length <= FEW_NAMES || selected.has(row.key),
      hoverinfo: "text",
      hovertext: values.map((value, position) => `${title}<br>step ${curve.steps[position]}: ${numberText(value)}`),
    });
  }
  const more = rows.length > MOST_CURVES ? ` The first ${MOST_CURVES} of ${rows.length} are drawn.` : "";
  const about = chosen.grouped ? "Means over the finished seeds, at the steps that all of them have." : "One line a run.";
  setNote("curves", about + more);
  const shape = layout({
    height: 380,
    showlegend: traces.some((trace) => trace.showlegend),
    xaxis: { title: { text: "step" } },
    yaxis: { title: { text: plain(curveTitle()) }, type: chosen.logarithmic ? "log" : "linear" },
  });
  draw("curves", traces, shape);
}

function curveTitle() {
  const label = data.metrics.find((metric) => metric.key === chosen.metric)?.label || "";
  return data.percentCurves.includes(chosen.metric) ? `${label}, %` : label;
}

function band(curve, values, colour, factor) {
  const spread = curve.spread.map((value) => factor * (value || 0));
  const upper = values.map((value, position) => value + spread[position]);
  const lower = values.map((value, position) => value - spread[position]);
  return {
    type: "scatter",
    mode: "lines",
    x: [...curve.steps, ...[...curve.steps].reverse()],
    y: [...upper, ...lower.reverse()],
    fill: "toself",
    fillcolor: transparent(colour, 0.13),
    line: { width: 0 },
    hoverinfo: "skip",
    showlegend: false,
  };
}

// ---- A figure over a cost or a parameter ----
function renderScatter(rows, colours) {
  const figure = columns.get(chosen.figure);
  const over = columns.get(chosen.over);
  const both = rows.filter((row) => isNumber(cell(row, figure.key).value) && cell(row, over.key).value !== null);
  const isNumeric = both.every((row) => isNumber(cell(row, over.key).value));
  const at = (row) => (isNumeric ? shownNumber(over, cell(row, over.key).value) : plain(cell(row, over.key).value));
  const height = (row) => shownNumber(figure, cell(row, figure.key).value);
  const isCost = over.kind === "cost" && isNumeric;
  const finished = both.filter((row) => row.state === "finished");
  const front = isCost ? paretoFront(finished.length ? finished : both, at, height, figure.better) : [];
  const onFront = new Set(front.map((row) => row.key));
  const named = (row) => (onFront.has(row.key) && front.length <= 12) || selected.has(row.key) || both.length <= FEW_NAMES;
  const traces = [];
  if (front.length) traces.push(frontTrace(front, at, height, both));
  traces.push({
    type: "scatter",
    mode: "markers",
    uid: "points",
    x: both.map(at),
    y: both.map(height),
    customdata: both.map((row) => row.key),
    cliponaxis: false,
    marker: {
      color: both.map((row) => colours.get(row.key)),
      size: both.map((row) => (selected.has(row.key) || onFront.has(row.key) ? 10 : 7)),
      // A row that was not finished is a ring.
      symbol: both.map((row) => (row.state === "finished" ? "circle" : "circle-open")),
      line: { color: both.map((row) => (selected.has(row.key) ? INK : "white")), width: 1 },
    },
    error_y: {
      type: "data",
      array: both.map((row) => shownNumber(figure, cell(row, figure.key).deviation || 0)),
      visible: both.length <= 40 && both.some((row) => cell(row, figure.key).deviation),
      color: "#c4c9d1",
      thickness: 1,
      width: 0,
    },
    hoverinfo: "text",
    hovertext: both.map(rowTitle),
  });
  traces.push(namesTrace(both.filter(named), at, height));
  const values = both.map((row) => cell(row, over.key).value);
  const isLog = isNumeric && values.length > 1 && Math.min(...values) > 0 && Math.max(...values) / Math.min(...values) >= 20;
  setNote("scatter", scatterNote(values, isCost, front));
  const unit = figure.percent ? ", %" : "";
  const shape = layout({
    height: 380,
    xaxis: { title: { text: plain(over.label) }, type: isNumeric ? (isLog ? "log" : "linear") : "category" },
    yaxis: { title: { text: plain(figure.label + unit) } },
  });
  draw("scatter", traces, shape);
}

// The names of some rows. Plotly keeps texts by their number in a trace, and loses some where others
// were before; so each set of names is a trace of its own.
let namesDrawn = 0;

function namesTrace(rows, at, height) {
  namesDrawn += 1;
  return {
    type: "scatter",
    mode: "text",
    uid: `names${namesDrawn}`,
    x: rows.map(at),
    y: rows.map(height),
    // An empty line lifts the name off its point.
    text: rows.map((row) => `${plain(shortened(row.name, 24))}<br> `),
    textposition: "top center",
    textfont: { size: 10, color: MUTED },
    cliponaxis: false,
    hoverinfo: "skip",
  };
}

function scatterNote(values, isCost, front) {
  const deviationWords = chosen.grouped ? " Bars: deviation over seeds." : "";
  if (!isCost) return `A point a row, a ring where it is not finished.${deviationWords}`;
  if (new Set(values).size < 2) return `All of these cost the same.${deviationWords}`;
  return `The line is the Pareto front: no other finished row is better and costs less (${front.length} on it). Rings are not finished.${deviationWords}`;
}

// The rows that no other one beats in both, from the cheapest to the best.
function paretoFront(rows, cost, value, better) {
  const sign = better === "min" ? -1 : 1;
  const ordered = [...rows].sort((a, b) => cost(a) - cost(b) || sign * (value(b) - value(a)));
  const front = [];
  let best = -Infinity;
  for (const row of ordered) {
    if (sign * value(row) > best) {
      best = sign * value(row);
      front.push(row);
    }
  }
  return front;
}

function frontTrace(front, at, height, rows) {
  const right = Math.max(...rows.map(at));
  return {
    type: "scatter",
    mode: "lines",
    uid: "front",
    x: [...front.map(at), right],
    y: [...front.map(height), height(front.at(-1))],
    line: { color: "#d9622b", width: 1.5, shape: "hv", dash: "dot" },
    hoverinfo: "skip",
  };
}

// ---- Importance ----
function renderImportance() {
  const known = data.importance[chosen.figure];
  document.getElementById("importance-section").hidden = !known;
  if (!known) return;
  const bars = [...known.bars].slice(0, 14).reverse();
  const share = (100 * known.explained).toFixed(0);
  const doubt = known.explained < 0.3 ? " That is little: do not rely on this chart." : "";
  const explained = known.explained > 0 ? `It explains ${share} % of the variance` : "It explains nothing of the variance";
  setNote("importance", `${data.method} ${explained} of ${known.groups} unseen groups.${doubt} ${data.limits}`);
  const trace = {
    type: "bar",
    orientation: "h",
    x: bars.map((bar) => 100 * Math.max(bar[1], 0)),
    y: bars.map((bar) => plain(shortened(columns.get(bar[0]).label, 28))),
    hovertext: bars.map((bar) => `${plain(bar[0])}: ${(100 * bar[1]).toFixed(1)} ± ${(100 * bar[2]).toFixed(1)} %`),
    hoverinfo: "text",
    marker: { color: known.explained < 0.3 ? "#a9b4c4" : "#1f5fbf" },
    error_x: { type: "data", array: bars.map((bar) => 100 * bar[2]), color: MUTED, thickness: 1, width: 3 },
  };
  const shape = layout({
    height: Math.max(200, 34 * bars.length + 70),
    xaxis: { title: { text: "% of the variance lost" }, rangemode: "tozero" },
    yaxis: { gridcolor: "white" },
    bargap: 0.35,
  });
  draw("importance", [trace], shape);
}

// ---- What charts share ----
function draw(name, traces, shape) {
  const place = document.getElementById(name);
  Plotly.react(place, traces, shape, SETTINGS);
  if (place.dataset.listens) return;
  place.dataset.listens = "yes";
  place.on("plotly_hover", (event) => highlight(keyAt(event)));
  place.on("plotly_unhover", () => highlight(null));
  place.on("plotly_click", (event) => {
    const key = keyAt(event);
    if (!key) return;
    toggle(key);
    update();
  });
}

function keyAt(event) {
  const point = event.points[0];
  return point.customdata || point.data.meta || null;
}

function uidOf(row) {
  return `c${allRows().indexOf(row)}`;
}

function setNote(name, words) {
  document.getElementById(`${name}-note`).textContent = words;
}
