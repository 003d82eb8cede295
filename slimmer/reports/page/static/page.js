"use strict";
// The page is whole without this script. It adds values under the pointer or the arrow keys,
// sorting, copying, and the mark of the current section.

function readStops(plot) {
  return JSON.parse(plot.querySelector("script.stops").textContent);
}

function makeInteractive(plot) {
  const area = plot.querySelector(".area");
  const cursor = area.querySelector(".cursor");
  const tip = area.querySelector(".tip");
  const stops = readStops(plot);
  let current = -1;

  function show(index) {
    current = Math.max(0, Math.min(stops.length - 1, index));
    const [at, text] = stops[current];
    cursor.hidden = tip.hidden = false;
    cursor.style.left = at + "%";
    tip.textContent = text;
    const room = area.clientWidth - tip.offsetWidth;
    const middle = (at / 100) * area.clientWidth - tip.offsetWidth / 2;
    tip.style.left = Math.max(0, Math.min(room, middle)) + "px";
  }

  function hide() {
    cursor.hidden = tip.hidden = true;
  }

  function nearest(event) {
    const box = area.getBoundingClientRect();
    const at = (100 * (event.clientX - box.left)) / box.width;
    let best = 0;
    stops.forEach(([place], index) => {
      if (Math.abs(place - at) < Math.abs(stops[best][0] - at)) best = index;
    });
    return best;
  }

  const moves = {
    ArrowRight: () => current + 1,
    ArrowLeft: () => (current < 0 ? stops.length - 1 : current - 1),
    Home: () => 0,
    End: () => stops.length - 1,
  };
  area.addEventListener("pointermove", (event) => show(nearest(event)));
  area.addEventListener("pointerdown", (event) => show(nearest(event)));
  area.addEventListener("pointerleave", hide);
  area.addEventListener("blur", hide);
  area.addEventListener("keydown", (event) => {
    if (event.key === "Escape") hide();
    if (!(event.key in moves)) return;
    event.preventDefault();
    show(moves[event.key]());
  });
}

// Text that begins with a number is sorted by it, and cells without one come last.
function sortKey(cell) {
  const text = cell.textContent.trim().replaceAll(",", "").replace("\u2212", "-");
  const found = text.match(/^[+-]?\d+(\.\d+)?(e[+-]?\d+)?/);
  return found && cell.tagName === "TD" ? Number(found[0]) : text;
}

function compareKeys(a, b) {
  if (typeof a === "number" && typeof b === "number") return a - b;
  if (typeof a === typeof b) return a.localeCompare(b, undefined, { numeric: true });
  return typeof a === "number" ? -1 : 1;
}

function makeSortable(table) {
  const heads = [...table.tHead.rows[0].cells];
  const body = table.tBodies[0];
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const descending = head.getAttribute("aria-sort") === "ascending";
      heads.forEach((each) => each.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", descending ? "descending" : "ascending");
      const rows = [...body.rows].map((row) => [sortKey(row.cells[column]), row]);
      rows.sort((a, b) => (descending ? -1 : 1) * compareKeys(a[0], b[0]));
      body.append(...rows.map(([, row]) => row));
    });
  });
}

function makeCopyable(block) {
  const button = block.querySelector(".copy");
  if (!navigator.clipboard) return;
  button.hidden = false;
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(block.querySelector("code").textContent);
    button.textContent = "Copied";
    setTimeout(() => (button.textContent = "Copy"), 1500);
  });
}

function markCurrentSection() {
  const links = new Map();
  document.querySelectorAll("nav a").forEach((link) => links.set(link.hash.slice(1), link));
  const observer = new IntersectionObserver(
    (entries) => {
      for (const entry of entries) {
        if (!entry.isIntersecting) continue;
        links.forEach((link) => link.removeAttribute("aria-current"));
        links.get(entry.target.id)?.setAttribute("aria-current", "true");
      }
    },
    { rootMargin: "-20% 0px -70% 0px" },
  );
  document.querySelectorAll("main section").forEach((section) => observer.observe(section));
}

document.querySelectorAll(".plot").forEach((plot) => {
  if (plot.querySelector("script.stops")) makeInteractive(plot);
});
document.querySelectorAll("table.sortable").forEach(makeSortable);
document.querySelectorAll(".code").forEach(makeCopyable);
markCurrentSection();

let opened = [];
addEventListener("beforeprint", () => {
  opened = [...document.querySelectorAll("details:not([open], .values)")];
  opened.forEach((each) => (each.open = true));
});
addEventListener("afterprint", () => opened.forEach((each) => (each.open = false)));
