// Drives Debian's Chromium: node -e "$(cat browser.js)" CHROMIUM URL STEP; prints JSON.
const { chromium } = require("playwright-core");
const [executablePath, url, step] = process.argv.slice(1);
const ARGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
  "--disable-background-networking", "--disable-component-update", "--disable-sync"];

// Every text that can be seen, with its contrast to what is behind it (WCAG 2.2, 1.4.3).
function contrasts() {
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const rgba = (colour) => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = colour;
    canvas.fillRect(0, 0, 1, 1);
    const [r, g, b, a] = canvas.getImageData(0, 0, 1, 1).data;
    return [r, g, b, a / 255];
  };
  const over = (top, under) => [0, 1, 2].map((i) => top[i] * top[3] + under[i] * (1 - top[3]));
  const luminance = (colour) => {
    const [r, g, b] = colour.map((c) => {
      const s = c / 255;
      return s <= 0.04045 ? s / 12.92 : ((s + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = (element) => {
    const layers = [];
    for (let at = element; at; at = at.parentElement) {
      layers.push(rgba(getComputedStyle(at).backgroundColor));
      if (layers.at(-1)[3] === 1) break;
    }
    return layers.reverse().reduce((under, top) => over(top, under), [255, 255, 255]);
  };
  const found = [];
  const measure = (element, colour, text) => {
    const background = behind(element);
    const [one, two] = [luminance(over(rgba(colour), background)), luminance(background)];
    found.push([(Math.max(one, two) + 0.05) / (Math.min(one, two) + 0.05), text.slice(0, 40)]);
  };
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    const text = walker.currentNode.textContent.trim();
    if (!text || element.closest("script, style, title") || !element.checkVisibility()) continue;
    const style = getComputedStyle(element);
    measure(element, element.closest("svg") ? style.fill : style.color, text);
  }
  const input = document.getElementById("filter");
  if (input) measure(input, getComputedStyle(input, "::placeholder").color, "placeholder");
  return found.sort((a, b) => a[0] - b[0]);
}

// What does not fit: the page beyond the window, text beyond its box, small type, buttons that
// are focused and not seen.
function misfits() {
  const boxes = [...document.querySelectorAll("body *:not(svg *, .aside)")].filter((one) =>
    one.clientWidth && getComputedStyle(one).display !== "inline");
  const type = (text) => text.getScreenCTM().a * parseFloat(getComputedStyle(text).fontSize);
  const edges = (text) => [text.getBoundingClientRect(), text.closest("svg").getBoundingClientRect()];
  return {
    overflow: Math.max(document.documentElement.scrollWidth - innerWidth, 0),
    spilt: boxes.filter((one) => one.scrollWidth > one.clientWidth + 1)
      .map((one) => one.outerHTML.slice(0, 90)),
    clipped: [...document.querySelectorAll("svg text")].filter((one) => {
      const [inner, outer] = edges(one);
      return inner.left < outer.left - 1 || inner.right > outer.right + 1
        || inner.top < outer.top - 1 || inner.bottom > outer.bottom + 1;
    }).map((one) => one.textContent),
    type: Math.min(...[...document.querySelectorAll("svg text")].map(type)),
    columns: [...document.querySelectorAll("#heads th")]
      .filter((one) => getComputedStyle(one).display === "table-cell")
      .map((one) => one.clientWidth),
    value: Math.min(...[...document.querySelectorAll(".config .value")]
      .map((one) => one.clientWidth)),
    unseen: [...document.querySelectorAll("button, input, summary, a:not(.skip)")].filter((one) => {
      one.focus();
      const { x, y, width, height } = one.getBoundingClientRect();
      const top = document.elementFromPoint(x + width / 2, y + height / 2);
      return document.activeElement !== one || height < 20 || !one.contains(top);
    }).map((one) => one.outerHTML.slice(0, 90)),
  };
}

const shown = (page) => page.$$eval("#rows tr", (rows) =>
  rows.filter((row) => row.checkVisibility()).map((row) => row.cells[2].textContent));

const STEPS = {
  async look(browser) {
    const looks = {};
    for (const [name, width, height, colorScheme] of [
      ["desk-light", 1440, 900, "light"], ["desk-dark", 1440, 900, "dark"],
      ["phone-light", 390, 844, "light"], ["phone-dark", 390, 844, "dark"],
      ["wall-dark", 2560, 1440, "dark"],
    ]) {
      const page = await browser.newPage({ viewport: { width, height }, colorScheme });
      const look = looks[name] = { said: [], requests: [] };
      page.on("console", (message) => look.said.push(message.text()));
      page.on("pageerror", (error) => look.said.push(String(error)));
      page.on("request", (request) => look.requests.push(request.url()));
      page.on("dialog", (dialog) => { look.said.push(dialog.message()); dialog.dismiss(); });
      await page.goto(url, { waitUntil: "networkidle" });
      await page.$$eval("details", (all) => all.forEach((one) => { one.open = true; }));
      look.contrasts = await page.evaluate(contrasts);
      Object.assign(look, await page.evaluate(() => ({
        lang: document.documentElement.lang,
        title: document.title,
        overflow: document.documentElement.scrollWidth - innerWidth,
        background: getComputedStyle(document.body).backgroundColor,
        unnamed: [...document.querySelectorAll("button, input, a, section, [role=img]")]
          .filter((one) => !one.textContent.trim() && !one.ariaLabel && !one.labels?.length
            && !one.getAttribute("aria-labelledby")).map((one) => one.outerHTML),
        injected: document.querySelectorAll("img, iframe, object").length,
      })));
      look.tree = await page.locator("body").ariaSnapshot();
      await page.close();
    }
    return looks;
  },

  async fit(browser) {
    const found = {};
    for (const width of [320, 390, 768, 1024, 1280, 1920, 2560]) {
      const page = await browser.newPage({ viewport: { width, height: 900 } });
      const said = [];
      page.on("console", (message) => said.push(message.text()));
      await page.goto(url);
      await page.$$eval("details", (all) => all.forEach((one) => { one.open = true; }));
      found[width] = { said, ...await page.evaluate(misfits) };
      const head = page.getByRole("columnheader", { name: "Repository" });
      await head.getByRole("button").click();
      found[width].sorted = [await shown(page), await head.getAttribute("aria-sort")];
      await page.close();
    }
    return found;
  },

  async use(browser) {
    const page = await browser.newPage({ viewport: { width: 1440, height: 900 } });
    const said = [];
    page.on("console", (message) => said.push(message.text()));
    page.on("pageerror", (error) => said.push(String(error)));
    await page.goto(url);
    const result = { said, all: await shown(page) };
    await page.getByLabel("Filter the inventory").fill("docker/1.9 TEAM");
    result.filtered = await shown(page);
    result.status = await page.getByRole("status").textContent();
    await page.getByLabel("Filter the inventory").fill("no such thing");
    result.nothing = [await shown(page), await page.locator("#nothing").isVisible()];
    await page.getByLabel("Filter the inventory").fill("");
    const engine = page.getByRole("button", { name: /^docker\/1\.8\.3/ });
    await engine.click();
    result.engine = [await shown(page), await engine.getAttribute("aria-pressed"),
      await engine.textContent()];
    await engine.click();

    // By keyboard alone: Tab reaches the head of a column, Enter and Space sort.
    const head = page.getByRole("columnheader", { name: "Repository" });
    await page.getByLabel("Filter the inventory").focus();
    for (let i = 0; i < 40 && !(await head.getByRole("button").evaluate(
      (one) => one === document.activeElement)); i += 1) {
      await page.keyboard.press("Tab");
    }
    result.outline = await head.getByRole("button").evaluate(
      (one) => getComputedStyle(one).outlineStyle);
    await page.keyboard.press("Enter");
    result.ascending = [await shown(page), await head.getAttribute("aria-sort")];
    await page.keyboard.press("Space");
    result.descending = [await shown(page), await head.getAttribute("aria-sort")];
    await page.getByRole("columnheader", { name: "Pulls" }).getByRole("button").click();
    result.pulls = await page.$$eval("#rows tr", (rows) =>
      rows.map((row) => Number(row.cells[4].dataset.value)));
    result.sorted = await page.$$eval("[aria-sort]", (heads) => heads.map((one) => one.textContent));

    await page.goto(url);
    await page.keyboard.press("Tab");
    result.first = await page.evaluate(() => document.activeElement.textContent);
    await page.keyboard.press("Enter");
    result.skipped = await page.evaluate(() => document.activeElement.id);
    return result;
  },

  // The clock is the test's: what the page does every 15 seconds is done at once.
  async refresh(browser) {
    const page = await browser.newPage();
    const replies = [];
    page.on("response", (response) => replies.push(response.url()));
    await page.clock.install();
    await page.goto(url);
    const drawn = page.locator("#verdict-title");
    const before = await drawn.textContent();
    await page.getByLabel("Filter the inventory").fill("zoo");
    const pull = await page.context().request.get(process.argv[4], {
      headers: { "User-Agent": "docker/1.6.2 os/linux arch/amd64" } });
    await page.clock.runFor(16000);
    await page.locator("#verdict-title", { hasNotText: before }).waitFor();
    const after = await drawn.textContent();
    const filtered = await shown(page);
    const live = page.getByRole("button", { name: /^Live/ });
    await live.click();
    const count = replies.length;
    await page.clock.runFor(60000);
    return { before, after, pulled: pull.status(), filtered,
      pressed: await live.getAttribute("aria-pressed"), paused: replies.length === count };
  },

  // Focus on a button of the list, opened details, a sorted list, a place on the page: what is
  // fresh leaves all of it alone.
  async keep(browser) {
    const page = await browser.newPage({ viewport: { width: 1280, height: 400 } });
    const said = [];
    page.on("console", (message) => said.push(message.text()));
    page.on("pageerror", (error) => said.push(String(error)));
    await page.clock.install();
    await page.goto(url);
    await page.evaluate(() => { window.same = true; });
    const pull = (engine) => page.context().request.get(process.argv[4], {
      headers: { "User-Agent": `${engine} os/linux arch/amd64` } });
    const state = () => page.evaluate(() => ({
      same: window.same,
      focus: document.activeElement.textContent,
      open: [...document.querySelectorAll("details")].map((one) => one.open),
      sorted: [...document.querySelectorAll("[aria-sort]")].map((one) => one.textContent),
      pressed: [...document.querySelectorAll("#engines [aria-pressed=true]")]
        .map((one) => one.dataset.key),
      engines: [...document.querySelectorAll("#engines button")].map((one) => one.dataset.key),
      y: scrollY,
      title: document.title,
      live: document.getElementById("live").getAttribute("aria-pressed"),
    }));
    const fresh = async (engine, count) => {
      await pull(engine);
      await page.clock.runFor(16000);
      await page.locator("#verdict-title", { hasNotText: count }).waitFor();
      return { ...await state(), rows: await shown(page) };
    };
    await page.getByText("As a table").click();
    await page.getByRole("columnheader", { name: "Repository" }).getByRole("button").click();
    await page.getByRole("button", { name: /^docker\/1\.9\.1/ }).click();
    const before = { ...await state(), rows: await shown(page) };
    const focused = await fresh("docker/1.6.2", "2 clients");
    await page.evaluate(() => document.activeElement.blur());
    const blurred = await fresh("docker/1.7.1", "3 clients");
    return { said, before, focused, blurred };
  },

  // The list is empty, and begins while somebody looks; then nobody answers, and then somebody.
  async begin(browser) {
    const page = await browser.newPage();
    const said = [];
    page.on("pageerror", (error) => said.push(String(error)));
    await page.clock.install();
    await page.goto(url);
    await page.evaluate(() => { window.same = true; });
    await page.locator(".config summary").click();
    const none = await page.locator("#inventory").textContent();
    await page.context().request.get(process.argv[4], {
      headers: { "User-Agent": "docker/1.6.2 os/linux arch/amd64" } });
    await page.clock.runFor(16000);
    await page.locator("#rows tr").waitFor();
    const state = () => page.evaluate(() => [window.same, document.querySelector(".config details").open,
      document.activeElement.localName, document.getElementById("shown").textContent]);
    const result = { said, none, rows: await shown(page), begun: await state() };
    await page.getByLabel("Filter the inventory").fill("nobody");
    result.status = await page.getByRole("status").textContent();
    await page.route(url, (route) => route.abort());
    await page.clock.runFor(16000);
    await page.getByText("No answer").waitFor();
    await page.unroute(url);
    await page.clock.runFor(16000);
    await page.getByText("Ready", { exact: true }).waitFor();
    result.filter = await page.getByLabel("Filter the inventory").inputValue();
    return result;
  },

  async plain(browser) {
    const context = await browser.newContext({ javaScriptEnabled: false });
    const page = await context.newPage();
    await page.goto(url);
    const still = await browser.newContext({ reducedMotion: "reduce" });
    const calm = await still.newPage();
    await calm.goto(url);
    return {
      rows: await page.locator("#rows tr").count(),
      tools: await page.locator("#tools").isVisible(),
      animation: await calm.evaluate(() =>
        getComputedStyle(document.getElementById("pill"), "::before").animationName),
      transition: await calm.evaluate(() =>
        getComputedStyle(document.getElementById("live")).transitionDuration),
    };
  },
};

(async () => {
  const browser = await chromium.launch({ executablePath, args: ARGS });
  try {
    console.log(JSON.stringify(await STEPS[step](browser)));
  } finally {
    await browser.close();
  }
})().catch((error) => { console.error(error); process.exit(1); });
