// The page as a whole: what the user chooses, and drawing all parts anew after each choice.
function update() {
  const { matching, rows, problems } = shownRows();
  const colours = coloursOf(rows);
  const shown = tableColumns();
  renderHead(shown);
  renderBody(rows, shown, colours);
  renderCount(matching, rows, problems);
  renderTiles(rows);
  renderParallel(matching, rows, colours);
  if (data.metrics.length) renderCurves(rows, colours);
  if (chosen.figure && chosen.over) renderScatter(rows, colours);
  renderImportance();
  renderScale(rows);
  remember();
}

function renderCount(matching, rows, problems) {
  const word = chosen.grouped ? "groups" : "runs";
  document.getElementById("count").textContent = `${rows.length} of ${allRows().length} ${word}`;
  document.getElementById("problem").textContent = problems.join("; ");
  const ranges = [...brushes.keys()].map((key) => columns.get(key).label);
  const parts = [];
  if (ranges.length) parts.push(`ranges on ${ranges.join(", ")}`);
  if (selected.size) parts.push(`${selected.size} selected`);
  document.getElementById("narrowed").textContent = parts.join("; ");
  document.getElementById("clear").hidden = !parts.length && !chosen.filter;
}

function tile(value, words) {
  return element("div", {}, element("b", {}, value), element("span", {}, words));
}

function renderTiles(rows) {
  const made = [];
  if (chosen.figure) {
    const column = columns.get(chosen.figure);
    const measured = rows.filter((row) => isNumber(cell(row, column.key).value));
    const finished = measured.filter((row) => row.state === "finished");
    const known = finished.length ? finished : measured;
    const sign = column.better === "min" ? -1 : 1;
    known.sort((a, b) => sign * (cell(b, column.key).value - cell(a, column.key).value));
    if (known.length) {
      const unit = column.percent ? " %" : "";
      made.push(tile(cellText(column, cell(known[0], column.key)) + unit, `best ${column.label}: ${known[0].name}`));
    }
  }
  const states = new Map();
  for (const number of rows.flatMap((row) => row.runs)) {
    const state = data.runs[number].state;
    states.set(state, (states.get(state) || 0) + 1);
  }
  const runs = rows.reduce((sum, row) => sum + row.runs.length, 0);
  made.push(tile(String(runs), `runs: ${[...states].map(([state, count]) => `${count} ${state}`).join(", ")}`));
  const groups = new Set(rows.map((row) => row.group)).size;
  if (groups < runs) made.push(tile(String(groups), "groups of runs that differ in their seed alone"));
  const differing = data.columns.filter((column) => column.kind === "parameter" && column.differs);
  const names = differing.slice(0, 5).map((column) => column.label).join(", ");
  made.push(tile(String(differing.length), `parameters differ${names ? `: ${names}${differing.length > 5 ? ", …" : ""}` : ""}`));
  document.getElementById("tiles").replaceChildren(...made);
}

// What the colours mean, where they stand for the chosen figure.
function renderScale(rows) {
  const place = document.getElementById("scale");
  const isShown = !isFew(rows) && chosen.figure;
  place.hidden = !isShown;
  if (!isShown) return;
  const bar = element("i", { class: "gradient" });
  bar.style.background = `linear-gradient(to right, ${SCALE.join(",")})`;
  place.replaceChildren("colour: ", columns.get(chosen.figure).label, " ", element("small", {}, "worse"), bar, element("small", {}, "better"));
}

// ---- A row under the pointer stands out everywhere ----
let highlighted = null;

function highlight(key) {
  if (key === highlighted) return;
  for (const marked of document.querySelectorAll(".highlighted")) marked.classList.remove("highlighted");
  highlighted = key;
  if (!key) return;
  const name = CSS.escape(key);
  for (const found of document.querySelectorAll(`[data-key="${name}"]`)) {
    if (!found.closest("thead")) found.classList.add("highlighted");
  }
  const line = document.querySelector(`#parallel polyline[data-key="${name}"]`);
  const row = allRows().find((one) => one.key === key);
  document.querySelector(`#curves .trace${uidOf(row)}`)?.classList.add("highlighted");
  // Lines that are drawn last lie above the others; moving the one under the pointer would end the
  // movement that the browser is reporting.
  if (line && !line.matches(":hover")) line.parentNode.insertBefore(line, line.parentNode.querySelector("g"));
}

// ---- Controls ----
function option(key, label, isChosen) {
  return element("option", { value: key, selected: isChosen }, label);
}

function fillChoices() {
  const figures = data.columns.filter((column) => column.kind === "figure");
  fill("figure", figures.map((column) => option(column.key, column.label, column.key === chosen.figure)));
  fill("metric", data.metrics.map((metric) => option(metric.key, metric.label, metric.key === chosen.metric)));
  const costs = data.columns.filter((column) => column.kind === "cost");
  const differing = data.columns.filter((column) => column.kind === "parameter" && column.differs);
  const groupOf = (label, members) =>
    element("optgroup", { label }, ...members.map((column) => option(column.key, column.label, column.key === chosen.over)));
  const over = [];
  if (costs.length) over.push(groupOf("costs", costs));
  if (differing.length) over.push(groupOf("parameters", differing));
  fill("over", over);
  document.getElementById("filter").value = chosen.filter;
  document.getElementById("grouped").checked = chosen.grouped;
  document.getElementById("smooth").value = chosen.smooth;
  document.getElementById("logarithmic").checked = chosen.logarithmic;
  document.getElementById("curves-section").hidden = !data.metrics.length;
  document.getElementById("scatter-section").hidden = !chosen.figure || !chosen.over;
  document.getElementById("grouped").parentNode.hidden = data.groups === data.runs.length;
}

function fill(name, options) {
  document.getElementById(name).replaceChildren(...options);
}

function listen() {
  const changes = {
    figure: (box) => {
      chosen.figure = box.value;
      if (!chosen.columns.includes(box.value)) chosen.columns.push(box.value);
      chosen.sort = box.value;
      chosen.descending = columns.get(box.value).better === "max";
      renderColumnChoice();
    },
    metric: (box) => (chosen.metric = box.value),
    over: (box) => (chosen.over = box.value),
    grouped: (box) => {
      chosen.grouped = box.checked;
      chosen.reference = null;
      selected.clear();
      axes.clear();
    },
    logarithmic: (box) => (chosen.logarithmic = box.checked),
    smooth: (box) => (chosen.smooth = Number(box.value)),
  };
  for (const [name, change] of Object.entries(changes)) {
    document.getElementById(name).addEventListener("change", (event) => {
      change(event.target);
      update();
    });
  }
  let waiting = null;
  document.getElementById("filter").addEventListener("input", (event) => {
    chosen.filter = event.target.value;
    // With many rows a letter is typed faster than all of them are drawn.
    clearTimeout(waiting);
    waiting = setTimeout(update, 150);
  });
  document.getElementById("clear").addEventListener("click", () => {
    chosen.filter = "";
    document.getElementById("filter").value = "";
    selected.clear();
    brushes.clear();
    update();
  });
  window.addEventListener("resize", () => {
    clearTimeout(waiting);
    waiting = setTimeout(update, 150);
  });
  listenToTable();
  listenToColumnChoice();
}

function renderShared() {
  const rows = data.shared.map(([key, value]) => element("tr", {}, element("th", {}, key), element("td", {}, value)));
  document.querySelector("#shared tbody").replaceChildren(...rows);
  document.getElementById("shared-section").hidden = !rows.length;
}

// ---- The address keeps the view ----
function remember() {
  const kept = { ...chosen, columns: undefined, brushes: [...brushes] };
  try {
    history.replaceState(null, "", `#${encodeURIComponent(JSON.stringify(kept))}`);
  } catch {
    // A page within a page, such as MLflow's, may have no address of its own.
  }
}

function recall() {
  try {
    const kept = JSON.parse(decodeURIComponent(location.hash.slice(1)));
    for (const [key, range] of kept.brushes || []) if (columns.has(key)) brushes.set(key, range);
    for (const key of Object.keys(chosen)) {
      if (key in kept && key !== "columns" && isPossible(key, kept[key])) chosen[key] = kept[key];
    }
  } catch {
    // The address is not one of ours.
  }
}

// The page may have been made anew since, with other runs.
function isPossible(key, value) {
  if (key === "figure" || key === "over") return columns.has(value);
  if (key === "metric") return data.metrics.some((metric) => metric.key === value);
  if (key === "reference" || key === "sort") return value === null || typeof value === "string";
  return typeof value === typeof chosen[key];
}

recall();
fillChoices();
listen();
renderColumnChoice();
renderShared();
update();
