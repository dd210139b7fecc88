"use strict";
(() => {
  const byId = (id) => document.getElementById(id);
  const state = { column: -1, down: false, engine: "" };

  // The inventory: filter and sort. Without this script it is a table, the latest first.
  const rows = () => [...document.querySelectorAll("#rows tr")];
  const value = (row, column) => row.cells[column].dataset.value ?? row.cells[column].textContent;

  function show() {
    const engines = [...document.querySelectorAll("#engines button")];
    if (!engines.some((button) => button.dataset.key === state.engine)) state.engine = "";
    for (const button of engines) {
      button.setAttribute("aria-pressed", String(button.dataset.key === state.engine));
    }
    const words = byId("filter").value.toLowerCase().split(/\s+/).filter(Boolean);
    let count = 0;
    for (const row of rows()) {
      const text = row.textContent.toLowerCase();
      const fits = words.every((word) => text.includes(word));
      row.hidden = !fits || (state.engine !== "" && row.dataset.engine !== state.engine);
      count += row.hidden ? 0 : 1;
    }
    // Told anew only if it is news: a screen reader reads out what is written here.
    const told = `${count} of ${rows().length} entries shown`;
    if (byId("shown").textContent !== told) byId("shown").textContent = told;
    byId("nothing").hidden = count > 0;
  }

  function sort() {
    if (state.column < 0) return;
    const heads = byId("heads").cells;
    const numeric = heads[state.column].dataset.kind === "number";
    const compare = (a, b) => {
      const [one, two] = [value(a, state.column), value(b, state.column)];
      const order = numeric ? one - two : one.localeCompare(two, "en", { numeric: true });
      return state.down ? -order : order;
    };
    byId("rows").append(...rows().sort(compare));
    for (const head of heads) head.removeAttribute("aria-sort");
    heads[state.column].setAttribute("aria-sort", state.down ? "descending" : "ascending");
  }

  function arrange() {
    if (!byId("rows")) return;
    byId("tools").hidden = false;
    for (const head of byId("heads").cells) {
      if (head.querySelector("button")) continue;
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = head.textContent;
      head.replaceChildren(button);
    }
    sort();
    show();
  }

  document.addEventListener("input", (event) => {
    if (event.target.id === "filter") show();
  });
  document.addEventListener("click", (event) => {
    const head = event.target.closest("#heads button")?.parentElement;
    const engine = event.target.closest("#engines button")?.dataset.key;
    if (head) {
      const down = head.getAttribute("aria-sort") === "descending";
      state.down = head.hasAttribute("aria-sort") ? !down : head.dataset.kind === "number";
      state.column = head.cellIndex;
      sort();
    } else if (engine) {
      state.engine = state.engine === engine ? "" : engine;
      show();
    }
  });
  arrange();

  // Fresh figures now and then, taken from this same page. What is there is changed, not replaced:
  // so focus, opened details, the filter and the place on the page stay as they are.
  const USERS = new Set(["open", "hidden", "aria-pressed"]);
  const key = (node) => node.id || node.dataset?.key;

  function update(old, fresh) {
    if (old.nodeType !== Node.ELEMENT_NODE) {
      if (old.nodeValue !== fresh.nodeValue) old.nodeValue = fresh.nodeValue;
      return;
    }
    if ("own" in old.dataset) return;
    for (const { name } of [...old.attributes]) {
      if (!USERS.has(name) && !fresh.hasAttribute(name)) old.removeAttribute(name);
    }
    for (const { name, value: text } of fresh.attributes) {
      if (!USERS.has(name) && old.getAttribute(name) !== text) old.setAttribute(name, text);
    }
    const wanted = new Set([...fresh.children].map(key));
    const kept = new Map();
    for (const child of [...old.children]) {
      if (!key(child)) continue;
      if (wanted.has(key(child))) kept.set(key(child), child);
      else child.remove();
    }
    let next = old.firstChild;
    for (const child of [...fresh.childNodes]) {
      let same = kept.get(key(child));
      if (!key(child) && next && !key(next) && next.nodeName === child.nodeName) same = next;
      kept.delete(key(child));
      if (same === next && next) next = next.nextSibling;
      else old.insertBefore(same ?? document.importNode(child, true), next);
      if (same) update(same, child);
    }
    while (next) {
      const last = next;
      next = next.nextSibling;
      last.remove();
    }
  }

  const source = (page) => [...page.querySelectorAll("style, script")].map((one) => one.textContent);

  async function refresh() {
    if (document.hidden) return;
    const options = { cache: "no-store", signal: AbortSignal.timeout(10000) };
    const text = await fetch(location.href, options)
      .then((reply) => (reply.ok ? reply.text() : null)).catch(() => null);
    if (text === null) {
      byId("pill").className = "pill bad";
      byId("pill").textContent = "No answer";
      return;
    }
    const fresh = new DOMParser().parseFromString(text, "text/html");
    // Another version answers: what is shown would not fit its style and script.
    if (source(fresh).join() !== source(document).join()) {
      location.reload();
      return;
    }
    const focused = document.activeElement;
    const around = focused.closest("section");
    document.title = fresh.title;
    update(document.body, fresh.body);
    arrange();
    if (document.activeElement !== focused) {
      (focused.isConnected ? focused : around)?.focus({ preventScroll: true });
    }
  }

  const live = byId("live");
  let waiting = null;

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
  // A page that was in the background is as old as that.
  document.addEventListener("visibilitychange", () => {
    if (live.getAttribute("aria-pressed") === "true") refresh();
  });
  switchLive(true);
})();
