// t-SNE: each point shows its scan; what is drawn around, or chosen by class, is marked in every panel and listed.
(() => {
  const { WIDTH, HEIGHT, el, svg, say, line, frame, onPage, inPlot, readable, shape, legend, kinds } = window.lungkerasLive;
  const NEAR = 14; // of a point to the pointer, in units of a plot
  const PAGE = 24; // scans of the list, until more are asked for
  const SIDE = HEIGHT - 20;
  const x = (value) => 10 + (value / 1000) * (WIDTH - 20);
  const y = (value) => 10 + SIDE - (value / 1000) * SIDE;

  const inside = (loop, left, top) => {
    let within = false;
    loop.forEach(([x1, y1], place) => {
      const [x0, y0] = loop[(place || loop.length) - 1];
      if ((y1 > top) !== (y0 > top) && left < ((x0 - x1) * (top - y1)) / (y0 - y1) + x1) within = !within;
    });
    return within;
  };

  // Calls `around` with the places of the points inside what is drawn by the mouse, a pen or, if asked for, a finger.
  const lasso = (plot, panel, around) => {
    const drawn = svg("polygon", { class: "lasso", visibility: "hidden" });
    plot.append(drawn);
    let loop = null;
    plot.addEventListener("pointerdown", (event) => {
      const scrolls = event.pointerType === "touch" && !plot.closest(".drawing");
      if (scrolls || loop || event.button !== 0) return;
      event.preventDefault();
      plot.focus({ preventScroll: true });
      plot.setPointerCapture(event.pointerId);
      loop = Object.assign([inPlot(plot, event)], { pointer: event.pointerId });
    });
    plot.addEventListener("pointermove", (event) => {
      if (!loop || event.pointerId !== loop.pointer) return;
      loop.push(inPlot(plot, event));
      drawn.setAttribute("points", loop.map((corner) => corner.map((edge) => edge.toFixed(1)).join(" ")).join(" "));
      drawn.setAttribute("visibility", "visible");
    });
    const end = (event) => {
      if (!loop || event.pointerId !== loop.pointer) return;
      const closed = loop;
      loop = null;
      drawn.setAttribute("visibility", "hidden");
      const moved = closed.some(([left, top]) => Math.hypot(left - closed[0][0], top - closed[0][1]) > 6);
      if (moved && event.type === "pointerup") around(panel.x.flatMap((value, place) => (inside(closed, x(value), y(panel.y[place])) ? [place] : [])));
    };
    plot.addEventListener("pointerup", end);
    plot.addEventListener("pointercancel", end);
  };

  const points = (panel, data, around) => {
    const known = Boolean(panel.predicted);
    const wrong = known ? panel.predicted.filter((name, place) => name !== data.labels[place]).length : 0;
    const plot = frame(`${panel.title}: ${data.labels.length} of ${data.all} test scans placed by t-SNE${known ? `, ${wrong} of them answered wrongly` : ""}. Arrow keys go from scan to scan.`);
    plot.append(svg("rect", { class: "frame", x: 1, y: 1, width: WIDTH - 2, height: HEIGHT - 2 }));
    const marks = data.labels.map((label, place) => {
      const bad = known && panel.predicted[place] !== label;
      const mark = svg("path", { d: shape(data.classes[label]), fill: data.classes[label].colour, class: bad ? "wrong" : "", transform: `translate(${x(panel.x[place]).toFixed(1)} ${y(panel.y[place]).toFixed(1)})` });
      plot.append(mark);
      return mark;
    });
    const picked = svg("circle", { class: "picked", r: 7, visibility: "hidden" });
    plot.append(picked);
    readable(plot, {
      order: data.labels.map((_, place) => place).sort((one, other) => panel.x[one] - panel.x[other]),
      nearest: (left, top) => {
        const away = (place) => Math.hypot(x(panel.x[place]) - left, y(panel.y[place]) - top);
        const best = data.labels.reduce((found, _, place) => (away(place) < away(found) ? place : found), 0);
        return away(best) < NEAR ? best : null;
      },
      read: (place, where) => {
        picked.setAttribute("cx", x(panel.x[place]));
        picked.setAttribute("cy", y(panel.y[place]));
        picked.setAttribute("visibility", "visible");
        const canvas = window.lungkerasTile(data.sheet, [place]);
        const found = canvas ? [canvas] : [];
        found.push(el("b", {}, data.classes[data.labels[place]].name));
        if (known) found.push(line(`called ${data.classes[panel.predicted[place]].name}`, (panel.confidence[place] / 100).toFixed(2)));
        if (data.scans[place]) found.push(el("p", {}, data.scans[place]));
        say(found, ...(where || onPage(plot, x(panel.x[place]), y(panel.y[place]))));
      },
      leave: () => picked.setAttribute("visibility", "hidden"),
    });
    lasso(plot, panel, around);
    const show = (kept) => {
      plot.classList.toggle("chosen", kept !== null);
      marks.forEach((mark, place) => mark.classList.toggle("kept", kept !== null && kept.has(place)));
    };
    return { plot, show };
  };

  const matrix = (panel, data) => {
    const most = panel.matrix.map((row) => row.reduce((sum, count) => sum + count, 0));
    const table = el("table", { class: "matrix" });
    table.append(el("caption", { class: "unseen" }, `${panel.title}: true classes in rows, predicted ones in columns`));
    const head = el("tr", {}, el("td", {}, "true \\ called"), ...data.classes.map(({ name }) => el("th", { scope: "col" }, name)));
    table.append(el("thead", {}, head));
    const body = el("tbody");
    panel.matrix.forEach((row, place) => {
      const cells = row.map((count) => {
        const cell = el("td", {}, String(count));
        cell.style.background = `color-mix(in srgb, var(--accent) ${Math.round((32 * count) / (most[place] || 1))}%, transparent)`;
        return cell;
      });
      body.append(el("tr", {}, el("th", { scope: "row" }, data.classes[place].name), ...cells));
    });
    table.append(body);
    return table;
  };

  const choice = (words, ...names) => {
    const list = el("select", {}, ...names.map((name, place) => el("option", { value: place }, name)));
    return { list, at: () => Number(list.value), label: el("label", {}, words, list) };
  };

  // The scans that are chosen: by what was drawn around, by their class, and by what a model called them.
  const selection = (stage, data, show) => {
    const classes = data.classes.map(({ name }) => name);
    const models = data.panels.filter((panel) => panel.predicted);
    const truth = choice("Class", "all classes", ...classes);
    const model = choice("Model", ...models.map(({ title }) => title));
    const called = choice("Called", "anything", "rightly", "wrongly", ...classes);
    const clear = el("button", { type: "button" }, "Clear");
    const more = el("button", { type: "button" }, "Show more");
    const count = el("span", { role: "status" });
    const list = el("ul", { class: "wall" });
    const tools = el("div", { class: "tools" }, truth.label, ...(models.length ? [called.label, model.label] : []), clear, count);
    const finger = el("button", { type: "button", class: "for-touch", "aria-pressed": "false" }, "Draw with a finger");
    const hint = el("p", { class: "hint" }, "Draw around points, or choose a class, to see these scans in every panel and in a list. ", finger);
    // A finger scrolls the page, except for the one loop after this button.
    const listen = (drawing) => {
      stage.classList.toggle("drawing", drawing);
      finger.setAttribute("aria-pressed", String(drawing));
    };
    finger.addEventListener("click", () => listen(!stage.classList.contains("drawing")));
    let drawn = null, shown = PAGE;

    const right = (place) => {
      const panel = models[model.at()];
      const wanted = called.at();
      if (!wanted || !panel) return true;
      const [label, answer] = [data.labels[place], panel.predicted[place]];
      return wanted === 1 ? answer === label : wanted === 2 ? answer !== label : answer === wanted - 3;
    };
    const card = (place) => {
      const panel = models[model.at()];
      const canvas = window.lungkerasTile(data.sheet, [place]);
      const about = el("div", {}, "true ", el("b", {}, classes[data.labels[place]]));
      if (panel) about.append(el("br"), "called ", el("b", {}, classes[panel.predicted[place]]), `, ${(panel.confidence[place] / 100).toFixed(2)}`);
      if (data.scans[place]) about.append(el("br"), el("span", { class: "file" }, data.scans[place]));
      return el("li", {}, ...(canvas ? [canvas] : []), about);
    };
    const fill = () => {
      const active = drawn || truth.at() || called.at();
      const kept = data.labels.flatMap((label, place) =>
        ((!drawn || drawn.has(place)) && (!truth.at() || label === truth.at() - 1) && right(place) ? [place] : []));
      show(active ? new Set(kept) : null);
      list.replaceChildren(...(active ? kept.slice(0, shown).map(card) : []));
      count.textContent = active ? `${kept.length} of ${data.labels.length} scans` : "";
      clear.hidden = !active;
      more.hidden = !active || kept.length <= shown;
    };
    const refill = () => {
      shown = PAGE;
      fill();
    };
    [truth, model, called].forEach((one) => one.list.addEventListener("change", refill));
    clear.addEventListener("click", () => {
      drawn = null;
      truth.list.value = called.list.value = "0";
      refill();
      truth.list.focus();
    });
    more.addEventListener("click", () => {
      shown += PAGE;
      fill();
    });
    fill();
    const around = (places) => {
      listen(false);
      drawn = places.length ? new Set(places) : null;
      refill();
    };
    return { top: [tools, hint], below: [list, more], around };
  };

  kinds.embedding = (stage, data) => {
    const drawings = [];
    const { top, below, around } = selection(stage, data, (kept) => drawings.forEach(({ show }) => show(kept)));
    stage.append(legend(data.classes.map((look) => ({ ...look, filled: true }))), ...top);
    data.panels.forEach((panel) => {
      drawings.push(points(panel, data, around));
      const part = el("div", {}, el("h5", {}, el("a", { href: `#${panel.run}` }, panel.title)), drawings[drawings.length - 1].plot);
      if (panel.matrix) part.append(matrix(panel, data));
      stage.append(part);
    });
    stage.append(...below);
  };
})();
