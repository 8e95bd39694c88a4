"use strict";
const table = document.getElementById("edits");
const body = table.tBodies[0];
const rows = [...body.rows];
const search = document.getElementById("search");
const task = document.getElementById("task");
const verdict = document.getElementById("verdict");
const only = document.getElementById("only");
const count = document.getElementById("count");

function filter() {
  const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
  let shown = 0;
  for (const row of rows) {
    const text = row.textContent.toLowerCase();
    const fits = words.every((word) => text.includes(word))
      && (!task.value || row.dataset.task === task.value)
      && (!verdict.value || row.dataset.verdict === verdict.value)
      && (!only.checked || row.querySelector("input").checked);
    row.hidden = !fits;
    shown += fits ? 1 : 0;
  }
  count.textContent = shown + " of " + rows.length + " edits";
}

function sort(heading) {
  const down = heading.getAttribute("aria-sort") === "ascending";
  for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
  heading.setAttribute("aria-sort", down ? "descending" : "ascending");
  const key = (row) => row.cells[heading.cellIndex].dataset.key ?? row.cells[heading.cellIndex].textContent;
  const compare = heading.classList.contains("number")
    ? (a, b) => Number(key(a)) - Number(key(b))
    : (a, b) => key(a).localeCompare(key(b), "en", { numeric: true });
  rows.sort((a, b) => (down ? compare(b, a) : compare(a, b)));
  body.append(...rows);
}

for (const input of [search, task, verdict, only]) input.addEventListener("input", filter);
body.addEventListener("input", () => { if (only.checked) filter(); });
for (const button of table.tHead.querySelectorAll("button")) {
  button.addEventListener("click", () => sort(button.parentElement));
}
document.getElementById("tools").hidden = false;
filter();
