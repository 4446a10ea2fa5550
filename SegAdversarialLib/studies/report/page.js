"use strict";

/* Tables sort by a click, or Enter, on a column's name: up, down, and as they came. What is missing stays last. */

function valueOf(row, column) {
  const cell = row.cells[column];
  if (cell.classList.contains("missing")) return null;
  return cell.dataset.value === undefined ? cell.textContent : Number(cell.dataset.value);
}

function compare(a, b) {
  if (typeof a === "number" && typeof b === "number") return a - b;
  if (typeof a !== typeof b) return typeof a === "number" ? -1 : 1;
  return a.localeCompare(b, undefined, { numeric: true, sensitivity: "base" });
}

function sort(header) {
  const table = header.closest("table");
  const body = table.tBodies[0];
  const next = { none: "ascending", ascending: "descending", descending: "none" }[header.ariaSort];
  for (const other of table.tHead.rows[0].cells) other.ariaSort = "none";
  header.ariaSort = next;
  const rows = [...body.rows];
  const sign = next === "descending" ? -1 : 1;
  const keyed = rows.map((row) => ({ row, value: valueOf(row, header.cellIndex), place: Number(row.dataset.place) }));
  keyed.sort((a, b) => {
    if (next === "none") return a.place - b.place;
    if (a.value === null || b.value === null) return (a.value === null) - (b.value === null) || a.place - b.place;
    return sign * compare(a.value, b.value) || a.place - b.place;
  });
  body.append(...keyed.map((one) => one.row));
  const name = header.querySelector("button").textContent;
  document.getElementById("said").textContent = next === "none" ? "In the order of the report" : `Sorted by ${name}, ${next}`;
}

for (const table of document.querySelectorAll("table")) {
  [...table.tBodies[0].rows].forEach((row, place) => { row.dataset.place = place; });
}

/* Figures open large; the dialog element itself closes on Escape and gives the focus back. */

const large = document.getElementById("large");

function openLarge(figure) {
  const [picture, shown] = [large.querySelector("img"), figure.querySelector("img")];
  picture.src = shown.src;
  picture.alt = shown.alt;
  large.querySelector("p").textContent = figure.querySelector("figcaption").textContent;
  large.showModal();
}

document.addEventListener("click", (event) => {
  const header = event.target.closest("th button");
  if (header) sort(header.closest("th"));
  const opener = event.target.closest("figure button");
  if (opener) openLarge(opener.closest("figure"));
  if (event.target === large || event.target.closest("dialog button")) large.close();
});

/* What is folded away is printed, too. */

window.addEventListener("beforeprint", () => {
  for (const folded of document.querySelectorAll("details:not([open])")) {
    folded.open = true;
    folded.dataset.folded = "";
  }
});
window.addEventListener("afterprint", () => {
  for (const folded of document.querySelectorAll("details[data-folded]")) {
    folded.open = false;
    delete folded.dataset.folded;
  }
});
