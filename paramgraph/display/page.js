// What a page gains where scripts run: sorting, filters, a choice of colours, copying. Without it nothing is missing
// but these; so controls that need it are hidden in the HTML and shown here.
"use strict";
(() => {
  const root = document.documentElement;

  // Colours. The reader's system decides until the button is pressed.
  const theme = document.querySelector("[data-theme-button]");
  const dark = () => (root.dataset.theme || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";
  const name = () => {
    theme.textContent = dark() ? "Light colours" : "Dark colours";
  };
  if (theme) {
    theme.hidden = false;
    theme.addEventListener("click", () => {
      root.dataset.theme = dark() ? "light" : "dark";
      name();
    });
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", name);
    name();
  }

  // Sorting. A cell's key is its number, or else its text; blanks stay last in both directions.
  const collator = new Intl.Collator("en", { numeric: true });
  const key = (cell) => {
    const text = cell.textContent.trim();
    if (text === "" || text === "–") return null;
    const number = parseFloat(text.replace(/^[[<≤ ]+/, "").replace(/,(?=\d{3})/g, ""));
    return cell.tagName === "TD" && !cell.classList.contains("text") && !Number.isNaN(number) ? number : text;
  };
  const compare = (a, b) => (typeof a === "number" && typeof b === "number" ? a - b : collator.compare(a, b));
  const sort = (table, column, header) => {
    const direction = header.getAttribute("aria-sort") === "ascending" ? -1 : 1;
    for (const other of table.querySelectorAll("th[aria-sort]")) other.removeAttribute("aria-sort");
    header.setAttribute("aria-sort", direction === 1 ? "ascending" : "descending");
    const body = table.tBodies[0];
    const rows = [...body.rows].map((row) => [key(row.cells[column]), row]);
    rows.sort(([a], [b]) => (a === null || b === null ? (a === null) - (b === null) : direction * compare(a, b)));
    body.append(...rows.map(([, row]) => row));
  };
  for (const table of document.querySelectorAll("table[data-sortable]")) {
    [...table.tHead.rows[table.tHead.rows.length - 1].cells].forEach((header, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...header.childNodes);
      header.append(button);
      button.addEventListener("click", () => sort(table, column, header));
    });
  }

  // Filters. No button pressed means no restriction; some pressed, only these.
  const pressed = (group) =>
    new Set([...group.querySelectorAll('[aria-pressed="true"]')].map((button) => button.dataset.value));
  const showColumns = (table, chosen) => {
    const last = table.tHead.rows.length - 1;
    const shown = [];
    for (const group of table.tHead.rows[0].cells) {
      const show = group.textContent === "" || chosen.size === 0 || chosen.has(group.textContent);
      group.hidden = !show;
      for (let column = 0; column < group.colSpan; column += 1) shown.push(show);
    }
    for (const row of [table.tHead.rows[last], ...table.tBodies[0].rows]) {
      shown.forEach((show, column) => { row.cells[column].hidden = !show; });
    }
  };
  for (const controls of document.querySelectorAll("[data-controls]")) {
    const table = document.getElementById(controls.dataset.controls);
    const text = controls.querySelector("input");
    const count = controls.querySelector("output");
    const [kinds, columns] = ["kinds", "columns"].map((part) => controls.querySelector(`[data-part="${part}"]`));
    const rows = [...table.tBodies[0].rows];
    const names = rows.map((row) => `${row.cells[0].textContent} ${row.cells[1].textContent}`.toLowerCase());
    const update = () => {
      const words = text.value.toLowerCase().split(/\s+/).filter(Boolean);
      const chosen = kinds ? pressed(kinds) : new Set();
      let shown = 0;
      rows.forEach((row, place) => {
        const show = words.every((word) => names[place].includes(word)) && (chosen.size === 0 || chosen.has(row.dataset.kind));
        row.hidden = !show;
        shown += show;
      });
      count.textContent = `${shown.toLocaleString("en")} of ${rows.length.toLocaleString("en")} rows`;
    };
    text.addEventListener("input", update);
    for (const button of controls.querySelectorAll("button")) {
      button.addEventListener("click", () => {
        button.setAttribute("aria-pressed", String(button.getAttribute("aria-pressed") !== "true"));
        if (columns && columns.contains(button)) showColumns(table, pressed(columns));
        else update();
      });
    }
    controls.hidden = false;
    update();
  }

  // Data of figures: a file, and copying. A page opened from a file may be refused the clipboard; then the text is selected for the reader's own keys.
  for (const actions of document.querySelectorAll("[data-actions]")) {
    const source = document.getElementById(actions.dataset.actions);
    const [file, button] = actions.children;
    // Made here, so that the page does not hold the same numbers twice.
    file.href = `data:text/csv;charset=utf-8,${encodeURIComponent(source.textContent)}`;
    actions.hidden = false;
    button.addEventListener("click", async () => {
      getSelection().selectAllChildren(source);
      try {
        await navigator.clipboard.writeText(source.textContent);
        button.textContent = "Copied";
      } catch {
        button.textContent = "Selected: press Ctrl+C or ⌘C";
      }
    });
  }
})();
