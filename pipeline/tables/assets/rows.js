// What the page shows of its runs: rows of single runs or of groups, filtered and in order.
// `data` is what pipeline/tables/page_data.py wrote.
const data = JSON.parse(document.getElementById("data").textContent);

const columns = new Map(data.columns.map((column, position) => [column.key, { ...column, position }]));

// What the user has chosen. It is kept in the address, so that a view can be bookmarked.
const chosen = {
  figure: data.figure,
  metric: data.metric,
  over: data.over,
  grouped: data.groups < data.runs.length,
  filter: "",
  sort: data.figure || "name",
  descending: data.figure ? columns.get(data.figure).better === "max" : false,
  reference: data.reference === null ? null : `group ${data.reference}`,
  smooth: 0,
  logarithmic: false,
  columns: data.columns.filter((column) => column.shown).map((column) => column.key),
};
// Rows that were clicked, and ranges that were drawn on an axis: column -> [low, high].
const selected = new Set();
const brushes = new Map();

function isNumber(value) {
  return typeof value === "number";
}

function mean(values) {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}

function deviation(values) {
  if (values.length < 2) return null;
  const middle = mean(values);
  return Math.sqrt(values.reduce((sum, value) => sum + (value - middle) ** 2, 0) / (values.length - 1));
}

// A row is { key, name, link, state, notes, seeds, runs, cells }, a cell { value, deviation, count }.
function singleRow(run, number) {
  return {
    key: `run ${number}`,
    name: run.name,
    group: run.group,
    link: run.link,
    state: run.state,
    notes: run.notes,
    seeds: run.seed === null ? [] : [run.seed],
    runs: [number],
    cells: run.cells.map((value) => ({ value, deviation: null, count: 1 })),
  };
}

function groupRow(name, numbers) {
  const runs = numbers.map((number) => data.runs[number]);
  const states = new Map();
  for (const run of runs) states.set(run.state, (states.get(run.state) || 0) + 1);
  const several = states.size > 1;
  return {
    key: `group ${name}`,
    name,
    group: name,
    link: runs.length === 1 ? runs[0].link : null,
    state: [...states].map(([state, count]) => (several ? `${count} ${state}` : state)).join(", "),
    notes: [...new Set(runs.map((run) => run.notes).filter(Boolean))].join("; "),
    seeds: runs.map((run) => run.seed).filter((seed) => seed !== null).sort((a, b) => a - b),
    runs: numbers,
    cells: data.columns.map((column, position) => groupCell(column, judged(column, runs).map((run) => run.cells[position]))),
  };
}

// Runs that were stopped were measured early: they do not belong into a mean with finished ones.
function judged(column, runs) {
  const finished = runs.filter((run) => run.state === "finished");
  return column.kind === "figure" && finished.length ? finished : runs;
}

// Measured numbers become a mean and a deviation; a setting is one value, or several.
function groupCell(column, values) {
  const known = values.filter((value) => value !== null);
  if (!known.length) return { value: null, deviation: null, count: 0 };
  if (column.kind !== "parameter" && known.every(isNumber)) {
    return { value: mean(known), deviation: deviation(known), count: known.length };
  }
  const different = new Set(values);
  return { value: different.size === 1 ? known[0] : "several", deviation: null, count: known.length };
}

function groupNumbers() {
  const groups = new Map();
  data.runs.forEach((run, number) => {
    if (!groups.has(run.group)) groups.set(run.group, []);
    groups.get(run.group).push(number);
  });
  return groups;
}

const rowsOf = {
  single: data.runs.map(singleRow),
  grouped: [...groupNumbers()].map(([name, numbers]) => groupRow(name, numbers)),
};

function allRows() {
  return chosen.grouped ? rowsOf.grouped : rowsOf.single;
}

function cell(row, key) {
  return row.cells[columns.get(key).position];
}

// The number that people see: accuracies are in percent.
function shownNumber(column, value) {
  return column.percent ? 100 * value : value;
}

function numberText(value) {
  if (Number.isInteger(value) && Math.abs(value) < 1e6) return String(value);
  if (Math.abs(value) >= 1e6) return `${(value / 1e6).toFixed(2)} M`;
  const size = Math.abs(value);
  if (size !== 0 && size < 1e-3) return value.toExponential(2);
  return String(Number(value.toPrecision(4)));
}

function valueText(column, value) {
  if (value === null || value === undefined) return "";
  if (!isNumber(value)) return String(value);
  return column.percent ? (100 * value).toFixed(1) : numberText(value);
}

function cellText(column, one) {
  const text = valueText(column, one.value);
  if (one.deviation === null || !isNumber(one.value)) return text;
  // What differs by rounding alone does not differ.
  if (one.deviation <= 1e-9 * Math.abs(one.value)) return text;
  if (column.percent) return `${text} ± ${(100 * one.deviation).toFixed(1)}`;
  return `${text} ± ${Number(one.deviation.toPrecision(2))}`;
}

// The paired difference of a row to the reference: over the seeds that both have finished.
function difference(row, reference, key) {
  const position = columns.get(key).position;
  const finished = reference.runs.map((number) => data.runs[number]).filter((run) => run.state === "finished");
  const bySeed = new Map(finished.map((run) => [run.seed, run.cells[position]]));
  const pairs = [];
  for (const number of row.runs) {
    const run = data.runs[number];
    const other = bySeed.get(run.seed);
    if (run.state === "finished" && isNumber(run.cells[position]) && isNumber(other)) pairs.push(run.cells[position] - other);
  }
  if (!pairs.length) return { value: null, deviation: null, count: 0 };
  return { value: mean(pairs), deviation: deviation(pairs), count: pairs.length };
}

// ---- The filter ----
// Words that all must hold: `asha`, `-stopped`, `lr<0.01`, `state=finished`, `model.fusion~late`.
const CONDITION = /^([^<>=!~]+)(<=|>=|!=|=|<|>|~)(.+)$/;

function columnCalled(name) {
  const wanted = name.toLowerCase();
  const exact = data.columns.filter((column) => [column.key.toLowerCase(), column.label.toLowerCase()].includes(wanted));
  if (exact.length) return exact[0];
  const ending = data.columns.filter((column) => column.key.toLowerCase().endsWith(`.${wanted}`));
  return ending[0] || data.columns.find((column) => column.key.toLowerCase().includes(wanted)) || null;
}

function parseFilter(text) {
  const tests = [];
  const problems = [];
  const joined = text.replace(/\s*(<=|>=|!=|=|<|>|~)\s*/g, "$1");
  for (const quoted of joined.match(/(?:[^\s"]|"[^"]*")+/g) || []) {
    const word = quoted.replaceAll('"', "");
    const parts = word.match(CONDITION);
    if (!parts) {
      tests.push(wordTest(word));
      continue;
    }
    const [, name, operator, value] = parts;
    const get = getterOf(name);
    if (get) tests.push((row) => compare(get(row), operator, value));
    else problems.push(`no column is called ${name}`);
  }
  return { tests, problems };
}

function getterOf(name) {
  const plain = { name: "name", state: "state", group: "group", notes: "notes" }[name.toLowerCase()];
  if (plain) return (row) => [row[plain]];
  if (["seed", "seeds"].includes(name.toLowerCase())) return (row) => row.seeds;
  const column = columnCalled(name);
  if (!column) return null;
  return (row) => {
    const value = row.cells[column.position ?? columns.get(column.key).position].value;
    return [isNumber(value) ? shownNumber(column, value) : value];
  };
}

function wordTest(word) {
  const isNegative = word.length > 1 && word.startsWith("-");
  const wanted = (isNegative ? word.slice(1) : word).toLowerCase();
  return (row) => rowText(row).includes(wanted) !== isNegative;
}

// All words of a row, in which a bare word is looked for.
function rowText(row) {
  if (!row.text) {
    const values = row.cells.map((one) => one.value).filter((value) => typeof value === "string");
    row.text = [row.name, row.group, row.state, row.notes, ...values].join(" ").toLowerCase();
  }
  return row.text;
}

function compare(values, operator, wanted) {
  const number = Number(wanted);
  return values.some((value) => {
    if (value === null) return operator === "!=";
    if (isNumber(value) && !Number.isNaN(number)) {
      const near = Math.abs(value - number) <= 1e-9 * Math.max(1, Math.abs(number));
      if (operator === "=") return near;
      if (operator === "!=") return !near;
      if (operator === "<=") return value <= number || near;
      if (operator === ">=") return value >= number || near;
      if (operator === "<") return value < number && !near;
      if (operator === ">") return value > number && !near;
    }
    const text = String(value).toLowerCase();
    if (operator === "=") return text === wanted.toLowerCase();
    if (operator === "!=") return text !== wanted.toLowerCase();
    return operator === "~" && text.includes(wanted.toLowerCase());
  });
}

function withinBrushes(row) {
  for (const [key, [low, high]] of brushes) {
    const place = axisPlace(key, cell(row, key).value);
    if (place === null || place < low || place > high) return false;
  }
  return true;
}

// ---- The order ----
function sortValue(row) {
  if (chosen.sort === "name") return row.name;
  if (chosen.sort === "state") return row.state;
  if (chosen.sort === "seeds") return row.seeds.length > 1 ? row.seeds.length : (row.seeds[0] ?? null);
  if (chosen.sort === "difference") return referenceRow() ? difference(row, referenceRow(), chosen.figure).value : null;
  return columns.has(chosen.sort) ? cell(row, chosen.sort).value : row.name;
}

function compareRows(one, other) {
  const a = sortValue(one);
  const b = sortValue(other);
  // What is missing stands last, in both directions.
  if (a === null || b === null) return (a === null) - (b === null);
  let order;
  if (isNumber(a) && isNumber(b)) order = a - b;
  else order = String(a).localeCompare(String(b), undefined, { numeric: true });
  return chosen.descending ? -order : order;
}

function referenceRow() {
  return allRows().find((row) => row.key === chosen.reference) || null;
}

function shownRows() {
  const { tests, problems } = parseFilter(chosen.filter);
  const rows = allRows().filter((row) => tests.every((test) => test(row)));
  return { matching: rows, rows: rows.filter(withinBrushes).sort(compareRows), problems };
}
