// The table: sorted by a click on a heading, a row selected by a click on it.
function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name === "class") made.className = value;
    else made.setAttribute(name, value === true ? "" : value);
  }
  // Texts become text nodes: nothing in a name is read as HTML.
  made.append(...children);
  return made;
}

function tableColumns() {
  const fixed = [
    { key: "name", label: chosen.grouped ? "group" : "run", title: "the name; a link leads to its report" },
    { key: "state", label: "state" },
    { key: "seeds", label: chosen.grouped ? "seeds" : "seed" },
  ];
  const shown = data.columns.filter((column) => chosen.columns.includes(column.key));
  // The chosen figure stands first among the figures.
  shown.sort((a, b) => KINDS.indexOf(a.kind) - KINDS.indexOf(b.kind) || (b.key === chosen.figure) - (a.key === chosen.figure));
  if (chosen.figure && referenceRow()) {
    const place = shown.findIndex((column) => column.key === chosen.figure) + 1;
    const label = `Δ ${columns.get(chosen.figure).label}`;
    const title = `paired difference to ${referenceRow().name}, over the seeds that both have`;
    shown.splice(place, 0, { ...columns.get(chosen.figure), key: "difference", label, title });
  }
  return [...fixed, ...shown];
}

const KINDS = ["figure", "cost", "parameter"];
const KIND_TITLES = { figure: "figures", cost: "costs", parameter: "parameters", differing: "parameters that differ" };

function isNumeric(column) {
  if (!columns.has(column.key)) return column.key === "difference";
  const { position } = columns.get(column.key);
  return data.runs.some((run) => isNumber(run.cells[position]));
}

function kindOf(column) {
  return column.kind === "parameter" && column.differs ? "differing" : column.kind || "";
}

function renderHead(shown) {
  const kinds = element("tr", { class: "kinds" });
  for (let start = 0; start < shown.length; ) {
    let end = start;
    while (end < shown.length && kindOf(shown[end]) === kindOf(shown[start])) end += 1;
    const kind = kindOf(shown[start]);
    kinds.append(element("th", { colspan: end - start, class: kind }, KIND_TITLES[kind] || ""));
    start = end;
  }
  const names = element("tr");
  for (const column of shown) {
    const isSorted = chosen.sort === column.key;
    const arrow = isSorted ? (chosen.descending ? " ▼" : " ▲") : "";
    const heading = element(
      "th",
      {
        class: `${kindOf(column)}${isSorted ? " sorted" : ""}${isNumeric(column) ? " number" : ""}`,
        title: column.title || column.key,
        tabindex: 0,
        "data-key": column.key,
        "aria-sort": isSorted ? (chosen.descending ? "descending" : "ascending") : "none",
      },
      column.label + arrow,
    );
    heading.addEventListener("click", () => sortBy(column));
    heading.addEventListener("keydown", (event) => event.key === "Enter" && sortBy(column));
    names.append(heading);
  }
  document.querySelector("#runs thead").replaceChildren(kinds, names);
}

// The first click on a figure puts the best on top.
function sortBy(column) {
  if (chosen.sort === column.key) chosen.descending = !chosen.descending;
  else {
    chosen.sort = column.key;
    chosen.descending = column.kind === "figure" && column.better === "max";
  }
  update();
}

// The value that most rows have, if more than half do: rows with another one are marked.
function commonValues(rows, shown) {
  const common = new Map();
  for (const column of shown) {
    if (column.kind !== "parameter" || !column.differs) continue;
    const counts = new Map();
    for (const row of rows) {
      const value = cell(row, column.key).value;
      counts.set(value, (counts.get(value) || 0) + 1);
    }
    const [value, count] = [...counts].sort((a, b) => b[1] - a[1])[0] || [null, 0];
    if (count > rows.length / 2 && counts.size > 1) common.set(column.key, value);
  }
  return common;
}

// The best value of each figure, in bold.
function bestValues(rows, shown) {
  const best = new Map();
  for (const column of shown) {
    if (column.kind !== "figure") continue;
    const values = rows.map((row) => (columns.has(column.key) ? cell(row, column.key).value : null)).filter(isNumber);
    if (values.length > 1) best.set(column.key, column.better === "min" ? Math.min(...values) : Math.max(...values));
  }
  return best;
}

function renderBody(rows, shown, colours) {
  const common = commonValues(rows, shown);
  const best = bestValues(rows, shown);
  const reference = referenceRow();
  const body = document.createDocumentFragment();
  for (const row of rows) {
    const line = element("tr", {
      "data-key": row.key,
      class: `${selected.has(row.key) ? "selected" : ""}${row === reference ? " reference" : ""}`,
    });
    line.append(nameCell(row, colours), stateCell(row), element("td", {}, row.seeds.join(", ")));
    for (const column of shown.slice(3)) line.append(valueCell(row, column, common, best, reference));
    body.append(line);
  }
  document.querySelector("#runs tbody").replaceChildren(body);
}

function nameCell(row, colours) {
  const swatch = element("i", { class: "swatch" });
  swatch.style.background = colours.get(row.key) || MISSING;
  const flag = element("button", { class: "flag", title: "compare the others with this one" }, "⚑");
  const name = row.link
    ? element("a", { href: row.link, target: "_blank", rel: "noopener noreferrer" }, row.name)
    : element("span", {}, row.name);
  return element("th", { scope: "row" }, swatch, name, ...memberLinks(row), flag);
}

// A group of several seeds links to the report of each.
function memberLinks(row) {
  if (row.link || row.runs.length < 2) return [];
  const links = [];
  for (const number of row.runs) {
    const run = data.runs[number];
    if (!run.link) continue;
    const words = run.seed === null ? "run" : String(run.seed);
    links.push(" ", element("a", { class: "member", href: run.link, title: run.name, target: "_blank", rel: "noopener noreferrer" }, words));
  }
  return links;
}

function stateCell(row) {
  // A group of several states has none of their colours.
  const kind = row.state.includes(",") ? "several" : row.state;
  return element("td", { class: `state ${kind}`, title: row.notes || row.state }, row.state);
}

function valueCell(row, column, common, best, reference) {
  const one = column.key === "difference" ? difference(row, reference, chosen.figure) : cell(row, column.key);
  const classes = [kindOf(column)];
  if (isNumber(one.value)) classes.push("number");
  if (common.has(column.key) && one.value !== common.get(column.key)) classes.push("other");
  if (best.has(column.key) && one.value === best.get(column.key)) classes.push("best");
  let text = cellText(column, one);
  if (column.key === "difference" && one.value > 0) text = `+${text}`;
  if (row === reference && column.key === "difference") text = "";
  const made = element("td", { class: classes.join(" "), title: one.value === null ? null : String(one.value) }, text);
  // A mean over fewer runs than the row has says so.
  if (column.kind !== "parameter" && isNumber(one.value) && one.count < row.runs.length) {
    made.append(element("sup", { title: `${one.count} of ${row.runs.length} runs have it` }, String(one.count)));
  }
  return made;
}

function listenToTable() {
  const body = document.querySelector("#runs tbody");
  body.addEventListener("click", (event) => {
    const line = event.target.closest("tr");
    if (!line || event.target.closest("a")) return;
    const key = line.dataset.key;
    if (event.target.closest(".flag")) chosen.reference = chosen.reference === key ? null : key;
    else toggle(key);
    update();
  });
  body.addEventListener("mouseover", (event) => highlight(event.target.closest("tr")?.dataset.key || null));
  body.addEventListener("mouseleave", () => highlight(null));
}

function toggle(key) {
  if (!selected.delete(key)) selected.add(key);
}

// ---- Which columns are shown ----
function renderColumnChoice() {
  const box = document.getElementById("columns");
  const parts = [];
  for (const kind of ["figure", "cost", "differing", "parameter"]) {
    const members = data.columns.filter((column) => kindOf(column) === kind);
    if (!members.length) continue;
    const labels = members.map((column) => {
      const check = element("input", { type: "checkbox", value: column.key, checked: chosen.columns.includes(column.key) });
      return element("label", { title: column.key }, check, kind === "parameter" ? column.key : column.label);
    });
    const all = element("button", { type: "button", "data-kind": kind }, "all");
    const none = element("button", { type: "button", "data-kind": kind, "data-none": "" }, "none");
    const title = kind === "parameter" ? "parameters that all runs share" : KIND_TITLES[kind];
    parts.push(element("fieldset", {}, element("legend", {}, title, " ", all, none), ...labels));
  }
  box.replaceChildren(...parts);
}

function listenToColumnChoice() {
  const box = document.getElementById("columns");
  box.addEventListener("change", (event) => showColumns([event.target.value], event.target.checked));
  box.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (!button) return;
    const keys = data.columns.filter((column) => kindOf(column) === button.dataset.kind).map((column) => column.key);
    showColumns(keys, !("none" in button.dataset));
    renderColumnChoice();
  });
}

function showColumns(keys, isShown) {
  chosen.columns = chosen.columns.filter((key) => !keys.includes(key));
  if (isShown) chosen.columns.push(...keys);
  update();
}
