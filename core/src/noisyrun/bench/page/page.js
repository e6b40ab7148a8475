
"use strict";
// The page is complete without this script: it sorts, hides columns, and lifts one method out of the pictures.
const all = (selector, root = document) => [...root.querySelectorAll(selector)];
const main = document.getElementById("main");
document.documentElement.classList.add("js");

function sort(button) {
  const header = button.closest("th"), table = header.closest("table"), body = table.tBodies[0];
  const row = header.parentElement, at = [...row.children].indexOf(header);
  const now = header.getAttribute("aria-sort"), opposite = {ascending: "descending", descending: "ascending"};
  const way = opposite[now] || button.dataset.first, sign = way === "ascending" ? 1 : -1;
  for (const other of row.children) if (other.hasAttribute("aria-sort")) other.setAttribute("aria-sort", "none");
  header.setAttribute("aria-sort", way);
  const keyed = [...body.rows].map(one => {
    const given = one.cells[at].dataset.v, number = Number(given);
    return {one, value: given === undefined ? null : given !== "" && !Number.isNaN(number) ? number : given};
  });
  const numbers = keyed.every(({value}) => value === null || typeof value === "number");
  keyed.sort((a, b) => {
    if (a.value === null || b.value === null) return (a.value === null) - (b.value === null); // not measured: last
    return sign * (numbers ? a.value - b.value : String(a.value).localeCompare(String(b.value), undefined, {numeric: true}));
  });
  body.append(...keyed.map(({one}) => one));
}

function choose(name, value) {
  if (name === "mode") main.dataset.mode = value;
  else for (const cell of all("[data-g]")) cell.classList.toggle("away", value !== "all" && cell.dataset.g !== value);
}

function toggle(method) {
  const buttons = all(`.toggle[data-method="${method}"]`), shown = buttons[0].getAttribute("aria-pressed") === "false";
  for (const button of buttons) button.setAttribute("aria-pressed", String(shown));
  for (const drawn of all(`.plot .m${method}`)) drawn.classList.toggle("off", !shown);
}

function lift(method) {
  for (const plot of all(".pictures .plot")) plot.classList.toggle("dim", method !== null);
  for (const drawn of all(".pictures .lit")) drawn.classList.remove("lit");
  if (method !== null) for (const drawn of all(`.pictures .m${method}`)) drawn.classList.add("lit");
}

document.addEventListener("click", event => {
  const button = event.target.closest("button");
  if (!button) return;
  if (button.classList.contains("sort")) sort(button);
  else if (button.classList.contains("toggle")) toggle(button.dataset.method);
});
for (const [over, out] of [["mouseover", "mouseout"], ["focusin", "focusout"]]) {
  document.addEventListener(over, event => {
    const button = event.target.closest(".toggle[aria-pressed=true]");
    if (button) lift(button.dataset.method);
  });
  document.addEventListener(out, event => { if (event.target.closest(".toggle")) lift(null); });
}
document.addEventListener("change", event => {
  const control = event.target;
  if (control.type === "radio") choose(control.name, control.value);
  else if (control.classList.contains("curve"))
    for (const drawn of all(".chosen", control.closest("figure"))) drawn.hidden = drawn.dataset.curve !== control.value;
});
for (const tools of all(".tools, .picker")) tools.hidden = false;
for (const control of all("input[type=radio]:checked")) choose(control.name, control.value);
for (const control of all("select.curve")) control.dispatchEvent(new Event("change", {bubbles: true}));
let opened = [];
addEventListener("beforeprint", () => { opened = all("details:not([open])"); for (const one of opened) one.open = true; });
addEventListener("afterprint", () => { for (const one of opened) one.open = false; });
