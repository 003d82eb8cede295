"use strict";
// Filters of the table of a comparison; charts show the rows that the table shows.

const rows = [...document.querySelectorAll("#rows tbody tr")];
const filter = document.getElementById("filter");
const onlyFront = document.getElementById("only-front");
const shown = document.getElementById("shown");

function isShown(row) {
  const words = filter.value.toLowerCase().split(/\s+/).filter(Boolean);
  const text = row.textContent.toLowerCase();
  if (onlyFront.checked && !("front" in row.dataset)) return false;
  return words.every((word) => text.includes(word));
}

function pareto(points, up) {
  const sign = up ? 1 : -1;
  points.sort((a, b) => a.x - b.x || sign * (b.y - a.y));
  const best = [];
  for (const point of points) {
    const last = best.at(-1);
    if (!last || sign * point.y > sign * last.y || (point.x === last.x && point.y === last.y)) best.push(point);
  }
  return best;
}

function redraw(chart, visible) {
  const dots = [...chart.querySelectorAll(".area .dot")];
  dots.forEach((dot) => (dot.hidden = !visible.has(dot.dataset.row)));
  const points = dots.filter((dot) => !dot.hidden)
    .map((dot) => ({ x: Number(dot.dataset.x), y: Number(dot.dataset.y), dot }));
  const best = pareto(points, chart.dataset.up === "yes");
  dots.forEach((dot) => dot.classList.remove("best"));
  let path = "";
  for (const { x, y, dot } of best) {
    dot.classList.add("best");
    path += path ? `H${x}V${100 - y}` : `M${x} ${100 - y}`;
  }
  chart.querySelector("path.front").setAttribute("d", path);
}

function update() {
  const visible = new Set();
  for (const row of rows) {
    row.hidden = !isShown(row);
    if (!row.hidden) visible.add(row.dataset.row);
  }
  document.querySelectorAll(".scatter").forEach((chart) => redraw(chart, visible));
  shown.textContent = `${visible.size} of ${rows.length} rows`;
}

function mark(number, on) {
  document.querySelectorAll(`[data-row="${number}"]`).forEach((each) => each.classList.toggle("marked", on));
}

function showTip(dot) {
  const area = dot.parentElement;
  const tip = area.querySelector(".tip");
  tip.hidden = false;
  tip.textContent = dot.getAttribute("aria-label");
  const middle = (Number(dot.dataset.x) / 100) * area.clientWidth - tip.offsetWidth / 2;
  tip.style.left = Math.max(0, Math.min(area.clientWidth - tip.offsetWidth, middle)) + "px";
  mark(dot.dataset.row, true);
}

function hideTip(dot) {
  dot.parentElement.querySelector(".tip").hidden = true;
  mark(dot.dataset.row, false);
}

document.querySelectorAll(".area .dot").forEach((dot) => {
  for (const kind of ["pointerenter", "focus"]) dot.addEventListener(kind, () => showTip(dot));
  for (const kind of ["pointerleave", "blur"]) dot.addEventListener(kind, () => hideTip(dot));
});
rows.forEach((row) => {
  row.addEventListener("pointerenter", () => mark(row.dataset.row, true));
  row.addEventListener("pointerleave", () => mark(row.dataset.row, false));
  const link = row.querySelector("a");
  if (!link) return;
  row.classList.add("opens");
  row.addEventListener("click", (event) => {
    if (!event.target.closest("a") && getSelection().isCollapsed) link.click();
  });
});
document.querySelector(".filters").hidden = false;
document.querySelector(".filters").addEventListener("submit", (event) => event.preventDefault());
filter.addEventListener("input", update);
onlyFront.addEventListener("change", update);
update();
