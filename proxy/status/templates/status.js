"use strict";
(() => {
  const byId = (id) => document.getElementById(id);
  const state = { column: -1, down: false, engine: "" };

  // The inventory: filter and sort. Without this script it is a table, the latest first.
  const rows = () => [...document.querySelectorAll("#rows tr")];
  const value = (row, column) => row.cells[column].dataset.value ?? row.cells[column].textContent;

  function show() {
    const words = byId("filter").value.toLowerCase().split(/\s+/).filter(Boolean);
    let count = 0;
    for (const row of rows()) {
      const text = row.textContent.toLowerCase();
      const fits = words.every((word) => text.includes(word));
      row.hidden = !fits || (state.engine !== "" && row.dataset.engine !== state.engine);
      count += row.hidden ? 0 : 1;
    }
    byId("shown").textContent = `${count} of ${rows().length} shown`;
    byId("nothing").hidden = count > 0;
  }

  function sort() {
    if (state.column < 0) return;
    const numeric = byId("heads").cells[state.column].dataset.kind === "number";
    const compare = (a, b) => {
      const [one, two] = [value(a, state.column), value(b, state.column)];
      const order = numeric ? one - two : one.localeCompare(two, "en", { numeric: true });
      return state.down ? -order : order;
    };
    byId("rows").append(...rows().sort(compare));
    for (const head of byId("heads").cells) {
      head.removeAttribute("aria-sort");
    }
    const direction = state.down ? "descending" : "ascending";
    byId("heads").cells[state.column].setAttribute("aria-sort", direction);
  }

  function engines() {
    for (const button of document.querySelectorAll("#engines button")) {
      button.setAttribute("aria-pressed", String(button.dataset.engine === state.engine));
    }
  }

  if (byId("rows")) {
    byId("tools").hidden = false;
    byId("filter").addEventListener("input", show);
    for (const head of byId("heads").cells) {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = head.textContent;
      head.replaceChildren(button);
      button.addEventListener("click", () => {
        const again = head.hasAttribute("aria-sort");
        const down = head.getAttribute("aria-sort") === "descending";
        state.down = again ? !down : head.dataset.kind === "number";
        state.column = head.cellIndex;
        sort();
      });
    }
    byId("engines").addEventListener("click", (event) => {
      const button = event.target.closest("button");
      if (!button) return;
      state.engine = state.engine === button.dataset.engine ? "" : button.dataset.engine;
      engines();
      show();
    });
    show();
  }

  // Fresh figures now and then, taken from this same page; what was filtered stays filtered.
  const live = byId("live");
  let waiting = null;

  async function refresh() {
    if (document.hidden || document.querySelector("[data-fresh] :focus")) return;
    const reply = await fetch(location.href, { cache: "no-store" }).catch(() => null);
    if (!reply || !reply.ok) {
      byId("pill").className = "pill bad";
      byId("pill").textContent = "No answer";
      return;
    }
    const fresh = new DOMParser().parseFromString(await reply.text(), "text/html");
    // The list has begun, or ended: other parts are needed for it.
    if (Boolean(fresh.getElementById("rows")) !== Boolean(byId("rows"))) {
      location.reload();
      return;
    }
    for (const part of document.querySelectorAll("[data-fresh]")) {
      const other = fresh.getElementById(part.id);
      if (!other) continue;
      part.className = other.className;
      part.replaceChildren(...other.childNodes);
    }
    if (byId("rows")) {
      engines();
      sort();
      show();
    }
  }

  function switchLive(on) {
    live.setAttribute("aria-pressed", String(on));
    clearInterval(waiting);
    if (on) waiting = setInterval(refresh, 15000);
  }

  live.hidden = false;
  live.addEventListener("click", () => {
    const on = live.getAttribute("aria-pressed") !== "true";
    switchLive(on);
    if (on) refresh();
  });
  switchLive(true);
})();
