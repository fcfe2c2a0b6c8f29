"use strict";
// `report` is the data: {title, runs, files, kinds, index, chunk, most_shown, headlines, tables}.
// Words of chains are written as text, never as HTML.
(() => {
  const $ = (id) => document.getElementById(id);
  const COLORS = ["#2b5cc4", "#d0342c", "#1a7f4b", "#8f45b5", "#c07a00", "#008391", "#6b6b6b"];
  const color = (run) => COLORS[run % COLORS.length];

  function make(tag, attributes = {}, ...children) {
    const svg = ["svg", "path", "line", "text", "circle", "rect"].includes(tag);
    const element = svg ? document.createElementNS("http://www.w3.org/2000/svg", tag)
                        : document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    element.append(...children);
    return element;
  }

  function number(value) {
    if (value === null || value === undefined) return "-";
    if (Number.isInteger(value)) return String(value);
    if (Math.abs(value) < 1e-3) return value.toExponential(1);
    return Math.abs(value) >= 1000 ? value.toFixed(0) : String(+value.toPrecision(4));
  }

  // ---- look ------------------------------------------------------------------------------------

  const dark = window.matchMedia("(prefers-color-scheme: dark)").matches;
  document.documentElement.classList.toggle("dark", dark);
  $("look").onclick = () => document.documentElement.classList.toggle("dark");

  // ---- runs and tables -------------------------------------------------------------------------

  $("title").textContent = document.title = report.title;
  const head = (names) => make("tr", {}, ...names.map((name) => make("th", {}, name)));
  const row = (cells) => make("tr", {}, ...cells.map((cell) => make("td", {}, cell)));
  $("run-table").append(head(["run", "seed", "stages", "command"]),
    ...report.runs.map((run) => row([run.name, number(run.seed), run.stages, run.command])));
  for (const table of report.tables) {
    const drawn = make("table", {}, head(table.columns), ...table.rows.map(row));
    const whole = make("details", {}, make("summary", {}, table.title),
      make("div", { class: "scroll" }, drawn));
    whole.open = table.rows.length <= 30;
    if (table.note) whole.append(make("p", { class: "note" }, table.note));
    $("tables").append(whole);
  }
  if (!report.tables.length) $("tables").append(make("p", { class: "note" }, "No results yet."));

  // ---- curves ----------------------------------------------------------------------------------

  const WIDTH = 300, HEIGHT = 130, LEFT = 38, BOTTOM = 14, TOP = 6, RIGHT = 6;
  const stages = [...new Set(report.runs.flatMap((run) => Object.keys(run.curves)))];
  for (const stage of stages) $("stage").append(make("option", { value: stage }, stage));
  if (stages.includes("grpo")) $("stage").value = "grpo";
  report.runs.forEach((run, i) => $("legend").append(
    make("span", {}, make("i", { style: `background:${color(i)}` }), run.name)));

  const FIRST = ["reward", "eval_accuracy", "loss", "completions/mean_length", "entropy/text",
    "entropy/image", "frac_reward_zero_std", ...report.headlines];
  function rank(name) {
    const place = FIRST.indexOf(name);
    if (place >= 0) return place;
    return FIRST.length + (name.startsWith("rewards/") ? 0 : name.startsWith("time/") ? 2 : 1);
  }

  function drawCurves() {
    const stage = $("stage").value, wanted = $("metric-filter").value.trim().toLowerCase();
    const names = [...new Set(report.runs.flatMap((run) => Object.keys(run.curves[stage] || {})))]
      .filter((name) => wanted.split(/[\s,]+/).some((part) => name.toLowerCase().includes(part)))
      .sort((a, b) => rank(a) - rank(b) || (a < b ? -1 : 1));
    const few = wanted ? names : names.filter((name) => rank(name) <= FIRST.length);
    $("plots").replaceChildren(...few.map((name) => plot(stage, name)));
    const others = names.filter((name) => !few.includes(name));
    $("more").hidden = !others.length;
    $("more").firstElementChild.textContent = `${others.length} more`;
    $("more").ontoggle = () => $("more-plots").replaceChildren(
      ...($("more").open ? others.map((name) => plot(stage, name)) : []));
    $("more").ontoggle();
  }

  function plot(stage, name) {
    const lines = report.runs.map((run, i) => ({ i, points: (run.curves[stage] || {})[name] }))
      .filter((line) => line.points && line.points[0].length);
    const xs = lines.flatMap((line) => line.points[0]), ys = lines.flatMap((line) => line.points[1]);
    const [x0, x1] = range(xs), [y0, y1] = range(ys);
    const px = (x) => LEFT + (x - x0) / (x1 - x0) * (WIDTH - LEFT - RIGHT);
    const py = (y) => HEIGHT - BOTTOM - (y - y0) / (y1 - y0) * (HEIGHT - BOTTOM - TOP);
    const svg = make("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": name });
    for (const y of [y0, (y0 + y1) / 2, y1]) {
      svg.append(make("line", { x1: LEFT, x2: WIDTH - RIGHT, y1: py(y), y2: py(y) }),
        make("text", { x: LEFT - 3, y: py(y) + 3, "text-anchor": "end" }, number(y)));
    }
    for (const x of [x0, x1]) svg.append(make("text",
      { x: px(x), y: HEIGHT - 3, "text-anchor": x === x0 ? "start" : "end" }, number(x)));
    for (const { i, points: [steps, values] } of lines) {
      const d = steps.map((x, k) => `${k ? "L" : "M"}${px(x).toFixed(1)},${py(values[k]).toFixed(1)}`);
      svg.append(make("path", { d: d.join(""), stroke: color(i) }));
      if (steps.length === 1) svg.append(
        make("circle", { cx: px(steps[0]), cy: py(values[0]), r: 2, fill: color(i) }));
    }
    const cursor = make("line", { y1: TOP, y2: HEIGHT - BOTTOM, visibility: "hidden" });
    svg.append(cursor);
    const said = make("output");
    svg.onpointermove = (event) => {
      const box = svg.getBoundingClientRect();
      const x = x0 + ((event.clientX - box.left) / box.width * WIDTH - LEFT)
        / (WIDTH - LEFT - RIGHT) * (x1 - x0);
      const texts = lines.map(({ i, points: [steps, values] }) => {
        const k = nearest(steps, x);
        cursor.setAttribute("x1", px(steps[k]));
        cursor.setAttribute("x2", px(steps[k]));
        return `${report.runs[i].name} @ ${steps[k]}: ${number(values[k])}`;
      });
      cursor.setAttribute("visibility", "visible");
      said.textContent = texts.join("  ");
    };
    svg.onpointerleave = () => cursor.setAttribute("visibility", "hidden");
    return make("div", { class: "plot" }, make("h3", {}, name), svg, said);
  }

  function range(values) {
    let low = Infinity, high = -Infinity;
    for (const v of values) { if (v < low) low = v; if (v > high) high = v; }
    if (low === high) { low -= Math.abs(low) / 10 || 0.5; high += Math.abs(high) / 10 || 0.5; }
    return [low, high];
  }

  function nearest(steps, x) {  // steps ascend
    let low = 0, high = steps.length - 1;
    while (high - low > 1) {
      const middle = (low + high) >> 1;
      if (steps[middle] < x) low = middle; else high = middle;
    }
    return x - steps[low] < steps[high] - x ? low : high;
  }

  $("stage").onchange = drawCurves;
  $("metric-filter").oninput = drawCurves;
  drawCurves();

  // ---- chains ----------------------------------------------------------------------------------

  const index = report.index, chunks = new Map();
  let shown = [], at = 0, grouped = false;

  window.reportChunk = (number, rows) => chunks.get(number).done(rows);

  function chunkOf(chain) {  // files beside the page: a page from disk may load scripts only
    const number = Math.floor(chain / report.chunk);
    if (!chunks.has(number)) {
      const loaded = {};
      loaded.rows = new Promise((done, fail) => { loaded.done = done; loaded.fail = fail; });
      chunks.set(number, loaded);
      const script = make("script", { src: `chains/${String(number).padStart(4, "0")}.js` });
      script.onerror = () => { chunks.delete(number); loaded.fail(new Error(script.src)); };
      document.head.append(script);
    }
    return chunks.get(number).rows.then((rows) => rows[chain % report.chunk]);
  }

  function options(id, names) {
    $(id).replaceChildren(make("option", { value: "" }, "all"),
      ...names.map(([value, name]) => make("option", { value }, name)));
  }
  options("by-run", report.runs.map((run, i) => [i, run.name]));
  options("by-kind", report.kinds.map((kind, i) => [i, kind]));
  function fileOptions() {
    const run = $("by-run").value, before = $("by-file").value;
    options("by-file", report.files.map((file, i) => [i, file])
      .filter(([i]) => run === "" || report.runs[run].files.includes(i)));
    if ([...$("by-file").options].some((o) => o.value === before)) $("by-file").value = before;
  }
  fileOptions();

  function filter() {
    const value = (id) => $(id).value === "" ? null : Number($(id).value);
    const equal = [["run", value("by-run")], ["file", value("by-file")],
      ["answer", value("by-answer")], ["kind", value("by-kind")], ["drawn", value("by-pictures")]]
      .filter(([, v]) => v !== null);
    const ranges = [["step", value("step-low"), value("step-high")],
      ["reward", value("reward-low"), value("reward-high")]]
      .filter(([, low, high]) => low !== null || high !== null);
    shown = [];
    for (let i = 0; i < index.run.length; i++) {
      if (equal.every(([name, v]) => index[name][i] === v) && ranges.every(([name, low, high]) => {
        const x = index[name][i];
        return x !== null && (low === null || x >= low) && (high === null || x <= high);
      })) shown.push(i);
    }
    const by = $("sort").value.replace("-", ""), sign = $("sort").value.startsWith("-") ? -1 : 1;
    if (by) shown.sort((a, b) => sign * ((index[by][a] ?? 0) - (index[by][b] ?? 0)) || a - b);
    go(0);
  }

  function go(to) {
    at = Math.max(0, Math.min(to, shown.length - 1));
    $("place").textContent = shown.length ? `${at + 1} of ${shown.length}` : "no chain";
    read();
  }

  async function read() {
    if (!shown.length) { $("reader").replaceChildren(); return; }
    const chain = shown[at], same = [];
    if (grouped) {  // the rows of a group are adjacent
      const equal = (i) => ["run", "file", "group"].every((name) => index[name][i] === index[name][chain]);
      let first = chain;
      while (first > 0 && equal(first - 1)) first--;
      for (let i = first; i < index.run.length && equal(i); i++) same.push(i);
    } else same.push(chain);
    let cards;
    try {
      cards = await Promise.all(same.map(async (i) => card(i, await chunkOf(i), same.length > 1)));
    } catch (error) {
      cards = [make("p", { class: "missing" }, `${error.message} cannot be read: keep the folder whole`)];
    }
    if (shown[at] !== chain) return;  // the reader has gone on
    if (grouped) cards[same.indexOf(chain)].classList.add("current");
    $("reader").classList.toggle("group", grouped);
    $("reader").replaceChildren(...cards);
  }

  function card(i, chain, compact) {
    const root = make("article", { class: "chain", "data-chain": i });
    if (!compact) {
      const prompt = make("div", { class: "prompt words" });
      const absent = chain.prompt_pictures.length ? "<image>" : "<image> is not stored: a run keeps "
        + `the pictures of the first ${report.most_shown.toLocaleString("en")} questions of a set`;
      interleave(prompt, chain.prompt, chain.prompt_pictures, (src) => framed(src, chain), absent);
      root.append(prompt);
    }
    const reply = make("div", { class: "reply words" });
    interleave(reply, chain.reply, chain.pictures, picture);
    root.append(reply);
    const word = { 1: "right", 0: "wrong", "-1": "unread" }[index.answer[i]];
    const facts = [["answer", chain.answer], ...Object.entries(chain.facts)];
    root.append(make("p", { class: "facts" },
      ...(word ? [make("b", { class: word }, word)] : []),
      ...facts.map(([name, value]) => make("span", {}, `${name} `, make("b", {},
        typeof value === "number" || value === null ? number(value) : String(value))))));
    root.append(make("p", { class: "facts" },
      `${report.runs[index.run[i]].name} · ${report.files[index.file[i]]} · ${chain.id}`));
    return root;
  }

  function interleave(parent, words, pictures, show, absent = "<image>") {
    const parts = words.split("<image>");
    parts.forEach((part, k) => {
      parent.append(part);
      if (k < parts.length - 1) parent.append(k < pictures.length ? show(pictures[k])
        : make("span", { class: "missing" }, absent));
    });
  }

  function picture(src) {
    const img = make("img", { src, alt: "drawn picture" });
    img.onload = () => img.classList.toggle("small", img.naturalWidth < 128);
    img.onerror = () => img.replaceWith(make("span", { class: "missing" }, `${src} is missing`));
    return img;
  }

  function framed(src, chain) {
    const frame = make("span", { class: "framed" }, picture(src));
    const [width, height] = chain.space;
    for (const [kind, boxes] of [["gold", chain.gold_boxes], ["found", chain.boxes]]) {
      for (const [label, x0, y0, x1, y1] of width ? boxes : []) {
        const style = `left:${100 * x0 / width}%;top:${100 * y0 / height}%;`
          + `width:${100 * (x1 - x0) / width}%;height:${100 * (y1 - y0) / height}%`;
        const title = `${kind}: ${label}`;
        frame.append(make("span", { class: `box ${kind}`, style, title }, make("span", {}, label)));
      }
    }
    return frame;
  }

  $("by-run").addEventListener("change", fileOptions);
  $("filters").addEventListener("input", filter);
  $("previous").onclick = () => go(at - 1);
  $("next").onclick = () => go(at + 1);
  function toggleGroup() {
    grouped = !grouped;
    $("group").setAttribute("aria-pressed", grouped);
    read();
  }
  $("group").onclick = toggleGroup;
  document.addEventListener("keydown", (event) => {
    if (["INPUT", "SELECT"].includes(event.target.tagName) || event.ctrlKey || event.metaKey) return;
    const move = { ArrowLeft: -1, ArrowRight: 1, PageUp: -10, PageDown: 10 }[event.key];
    if (move) { go(at + move); event.preventDefault(); }
    if (event.key === "g") toggleGroup();
  });
  filter();
})();
