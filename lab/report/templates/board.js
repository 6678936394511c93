// Sorts and filters the rows of a board. It reads and moves elements, and makes no request.
"use strict";
(() => {
  const table = document.getElementById("runs");
  const body = table.tBodies[0];
  const rows = [...body.rows];
  const heads = [...table.tHead.rows[0].cells];
  const names = heads.map((head) => head.textContent.trim().toLowerCase());
  const box = document.getElementById("filter");
  const count = document.getElementById("count");
  const text = new Map(rows.map((row) => [row, row.textContent.toLowerCase()]));

  // What a cell sorts by: its number, else its text.
  const key = (row, column) => {
    const cell = row.cells[column];
    const number = cell.dataset.number;
    return number ? Number(number) : cell.textContent.trim();
  };

  // Numbers by size, texts by letter; cells without a value last in either order.
  const compare = (a, b, sign) => {
    const empty = (value) => value === "-" || value === "";
    if (empty(a) || empty(b)) return empty(a) - empty(b);
    if (typeof a === "number" && typeof b === "number") return sign * (a - b);
    return sign * String(a).localeCompare(String(b), "en", { numeric: true });
  };

  const sort = (column) => {
    const sign = heads[column].getAttribute("aria-sort") === "descending" ? 1 : -1;
    heads.forEach((head) => head.removeAttribute("aria-sort"));
    heads[column].setAttribute("aria-sort", sign === 1 ? "ascending" : "descending");
    const keyed = rows.map((row) => [key(row, column), row]);
    keyed.sort((a, b) => compare(a[0], b[0], sign));
    body.append(...keyed.map((pair) => pair[1]));
  };

  // A word such as exact>0.9 compares a column; any other must be in the row.
  const meets = (row, word) => {
    const parts = /^([a-z ]+)(<=|>=|<|>)(-?[\d.]+)$/.exec(word);
    const column = parts ? names.indexOf(parts[1]) : -1;
    if (column < 0) return text.get(row).includes(word);
    const value = key(row, column);
    const limit = Number(parts[3]);
    if (typeof value !== "number") return false;
    return { "<": value < limit, "<=": value <= limit, ">": value > limit, ">=": value >= limit }[parts[2]];
  };

  const filter = () => {
    const words = box.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const row of rows) {
      row.hidden = !words.every((word) => meets(row, word));
      shown += !row.hidden;
    }
    count.textContent = `${shown} of ${rows.length} runs`;
  };

  heads.forEach((head, column) => {
    const button = head.querySelector("button");
    if (button) button.addEventListener("click", () => sort(column));
  });
  box.addEventListener("input", filter);
  document.getElementById("controls").hidden = false;
  filter();
})();
