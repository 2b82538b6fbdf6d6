// Figures drawn anew from their numbers: curves and reliability with values under the pointer, t-SNE with its scans.
(() => {
  const SVG = document.createRange().createContextualFragment("<svg></svg>").firstChild.namespaceURI;
  const tip = document.getElementById("tip");
  const el = (name, attributes = {}, ...inside) => {
    const made = document.createElement(name);
    Object.entries(attributes).forEach(([key, value]) => made.setAttribute(key, value));
    made.append(...inside);
    return made;
  };
  const svg = (name, attributes = {}, text = null) => {
    const made = document.createElementNS(SVG, name);
    Object.entries(attributes).forEach(([key, value]) => made.setAttribute(key, value));
    if (text !== null) made.textContent = text;
    return made;
  };
  const short = (number) => (number === null || number === undefined ? "–" : Number(number.toPrecision(3)).toString());

  const say = (content, x, y) => {
    tip.replaceChildren(...content);
    tip.hidden = false;
    const { width, height } = tip.getBoundingClientRect();
    tip.style.left = `${Math.max(8, Math.min(x + 14, innerWidth - width - 8))}px`;
    tip.style.top = `${y + 14 + height > innerHeight ? Math.max(8, y - height - 14) : y + 14}px`;
  };
  const hush = () => { tip.hidden = true; };
  const dot = (colour) => {
    const mark = el("i");
    mark.style.background = colour || "var(--soft)";
    return mark;
  };

  const WIDTH = 340, HEIGHT = 200, LEFT = 38, RIGHT = 10, TOP = 8, BOTTOM = 26;
  const steps = (low, high, wanted = 5) => {
    const rough = (high - low) / wanted || 1;
    const power = 10 ** Math.floor(Math.log10(rough));
    const step = [1, 2, 5, 10].map((factor) => factor * power).find((size) => size >= rough);
    const ticks = [];
    for (let tick = Math.ceil(low / step) * step; tick <= high + step / 1e6; tick += step) ticks.push(tick);
    return ticks;
  };
  const frame = (label) => {
    const plot = svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, class: "plot", role: "img", tabindex: "0", "aria-label": label });
    return plot;
  };
  const inPlot = (plot, event) => {
    const box = plot.getBoundingClientRect();
    return [((event.clientX - box.left) * WIDTH) / box.width, ((event.clientY - box.top) * HEIGHT) / box.height];
  };
  const onPage = (plot, x, y) => {
    const box = plot.getBoundingClientRect();
    return [box.left + (x * box.width) / WIDTH, box.top + (y * box.height) / HEIGHT];
  };

  // A panel of lines; what stands at one x is read out together.
  const lines = (panel, data) => {
    const numbers = panel.lines.flatMap((line) => [...line.y, ...(line.train || [])]).filter((number) => number !== null);
    const xs = [...new Set(panel.lines.flatMap((line) => line.x))].sort((one, other) => one - other);
    const logarithmic = !panel.unit && Math.min(...numbers) > 0 && Math.max(...numbers) > 20 * Math.min(...numbers);
    const [low, high] = panel.unit ? [0, 1] : logarithmic ? [Math.min(...numbers), Math.max(...numbers)].map(Math.log10) : [0, Math.max(...numbers) || 1];
    const [left, right] = data.kind === "reliability" ? [0, 1] : [xs[0], xs.length > 1 ? xs[xs.length - 1] : xs[0] + 1];
    const x = (value) => LEFT + ((value - left) / (right - left)) * (WIDTH - LEFT - RIGHT);
    const y = (value) => HEIGHT - BOTTOM - (((logarithmic ? Math.log10(value) : value) - low) / (high - low || 1)) * (HEIGHT - TOP - BOTTOM);
    const told = panel.lines.map((line) => `${line.name} ${short(line.y[line.best ? line.x.indexOf(line.best) : line.y.length - 1])}`);
    const plot = frame(`${panel.title}. ${told.join(", ")}. Arrow keys read the values.`);
    const ticks = logarithmic ? steps(low, high, 3).map((tick) => 10 ** tick) : steps(low, high, 4);
    ticks.forEach((tick) => plot.append(
      svg("line", { class: "rule", x1: LEFT, x2: WIDTH - RIGHT, y1: y(tick), y2: y(tick) }),
      svg("text", { x: LEFT - 6, y: y(tick) + 4, "text-anchor": "end" }, short(tick)),
    ));
    steps(left, right, 5).filter((tick) => data.kind === "reliability" || Number.isInteger(tick)).forEach((tick) =>
      plot.append(svg("text", { x: x(tick), y: HEIGHT - 10, "text-anchor": "middle" }, short(tick))));
    if (data.kind === "reliability") plot.append(svg("line", { class: "cross", x1: x(0), y1: y(0), x2: x(1), y2: y(1) }));
    const path = (line, values) => values.map((value, place) => (value === null ? null : `${x(line.x[place]).toFixed(1)} ${y(value).toFixed(1)}`)).filter(Boolean);
    panel.lines.forEach((line) => {
      const look = line.colour ? { stroke: line.colour } : {};
      const grey = line.colour ? "" : " grey";
      if (line.train) plot.append(svg("polyline", { class: "line train", points: path(line, line.train).join(" "), ...look }));
      plot.append(svg("polyline", { class: `line${grey}`, points: path(line, line.y).join(" "), ...look }));
      line.y.forEach((value, place) => {
        const kept = line.best === line.x[place];
        if (value === null || !(line.n || kept || line.y.length === 1)) return;
        const size = line.n ? 2 + 5 * Math.sqrt(line.n[place] / Math.max(...line.n)) : 4.5;
        plot.append(svg("circle", { cx: x(line.x[place]), cy: y(value), r: size.toFixed(1), class: kept ? "best" : `spot${grey}`, ...(line.colour ? { fill: line.colour } : {}) }));
      });
    });
    const cross = svg("line", { class: "cross", y1: TOP, y2: HEIGHT - BOTTOM, visibility: "hidden" });
    plot.append(cross);
    let at = -1;
    const read = (place, where) => {
      at = Math.max(0, Math.min(place, xs.length - 1));
      const here = xs[at];
      cross.setAttribute("x1", x(here));
      cross.setAttribute("x2", x(here));
      cross.setAttribute("visibility", "visible");
      const found = [el("b", {}, `${data.x} ${short(here)}`)];
      panel.lines.forEach((line) => {
        const own = line.x.indexOf(here);
        if (own < 0) return;
        const more = line.train ? ` (train ${short(line.train[own])})` : line.n ? ` of ${line.n[own]}` : "";
        found.push(el("p", {}, el("span", {}, dot(line.colour), line.name), el("span", {}, short(line.y[own]) + more)));
      });
      say(found, ...(where || onPage(plot, x(here), TOP + 20)));
    };
    const leave = () => {
      cross.setAttribute("visibility", "hidden");
      hush();
    };
    plot.addEventListener("pointermove", (event) => {
      const wanted = left + ((inPlot(plot, event)[0] - LEFT) / (WIDTH - LEFT - RIGHT)) * (right - left);
      const nearest = xs.reduce((best, value, place) => (Math.abs(value - wanted) < Math.abs(xs[best] - wanted) ? place : best), 0);
      read(nearest, [event.clientX, event.clientY]);
    });
    plot.addEventListener("pointerleave", leave);
    plot.addEventListener("blur", leave);
    plot.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (event.key === "Escape") leave();
      if (!step) return;
      event.preventDefault();
      read(at + step);
    });
    return plot;
  };

  const MARKERS = {
    o: "M-3 0a3 3 0 1 0 6 0a3 3 0 1 0 -6 0", "^": "M0 -3.6L3.4 2.6H-3.4Z", v: "M0 3.6L3.4 -2.6H-3.4Z", s: "M-2.8 -2.8h5.6v5.6h-5.6Z",
    D: "M0 -3.8L3.8 0L0 3.8L-3.8 0Z", P: "M-1.2 -3.4h2.4v2.2h2.2v2.4h-2.2v2.2h-2.4v-2.2h-2.2v-2.4h2.2Z", X: "M-3 -3L3 3M-3 3L3 -3",
  };
  const mark = (look) => MARKERS[look.marker] || MARKERS.s;

  // A panel of points; a point shows its scan. Wrong answers have a rim.
  const points = (panel, data) => {
    const x = (value) => 10 + (value / 1000) * (WIDTH - 20);
    const side = HEIGHT - 20;
    const y = (value) => 10 + side - (value / 1000) * side;
    const known = Boolean(panel.predicted);
    const wrong = known ? panel.predicted.filter((name, place) => name !== data.labels[place]).length : 0;
    const plot = frame(`${panel.title}: ${data.labels.length} of ${data.all} test scans placed by t-SNE${known ? `, ${wrong} of them answered wrongly` : ""}. Arrow keys go from scan to scan.`);
    plot.append(svg("rect", { class: "frame", x: 1, y: 1, width: WIDTH - 2, height: HEIGHT - 2 }));
    data.labels.forEach((label, place) => {
      const look = data.classes[label];
      const bad = known && panel.predicted[place] !== label;
      plot.append(svg("path", { d: mark(look), fill: look.colour, "fill-opacity": 0.85, class: bad ? "wrong" : "", transform: `translate(${x(panel.x[place]).toFixed(1)} ${y(panel.y[place]).toFixed(1)})` }));
    });
    const picked = svg("circle", { class: "picked", r: 7, visibility: "hidden" });
    plot.append(picked);
    const order = data.labels.map((_, place) => place).sort((one, other) => panel.x[one] - panel.x[other]);
    let at = -1;
    const read = (place, where) => {
      picked.setAttribute("cx", x(panel.x[place]));
      picked.setAttribute("cy", y(panel.y[place]));
      picked.setAttribute("visibility", "visible");
      const found = [];
      const canvas = window.lungkerasTile && window.lungkerasTile(data.sheet, [place]);
      if (canvas) found.push(canvas);
      found.push(el("b", {}, data.classes[data.labels[place]].name));
      if (known) found.push(el("p", {}, el("span", {}, `called ${data.classes[panel.predicted[place]].name}`), el("span", {}, (panel.sure[place] / 100).toFixed(2))));
      if (data.scans[place]) found.push(el("p", {}, data.scans[place]));
      say(found, ...(where || onPage(plot, x(panel.x[place]), y(panel.y[place]))));
    };
    const leave = () => {
      picked.setAttribute("visibility", "hidden");
      hush();
    };
    plot.addEventListener("pointermove", (event) => {
      const [left, top] = inPlot(plot, event);
      let best = -1, near = 14 * 14;
      data.labels.forEach((_, place) => {
        const away = (x(panel.x[place]) - left) ** 2 + (y(panel.y[place]) - top) ** 2;
        if (away < near) [best, near] = [place, away];
      });
      if (best < 0) leave();
      else {
        at = order.indexOf(best);
        read(best, [event.clientX, event.clientY]);
      }
    });
    plot.addEventListener("pointerleave", leave);
    plot.addEventListener("blur", leave);
    plot.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
      if (event.key === "Escape") leave();
      if (!step) return;
      event.preventDefault();
      at = (at + step + order.length) % order.length;
      read(order[at]);
    });
    return plot;
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

  const legend = (looks) => {
    const list = el("ul", { class: "legend" });
    looks.forEach(({ name, colour, shape }) => {
      const key = svg("svg", { viewBox: "0 0 24 12", "aria-hidden": "true" });
      if (shape) key.append(svg("path", { d: shape, fill: colour, transform: "translate(12 6) scale(1.4)" }));
      else key.append(svg("line", { x1: 1, x2: 23, y1: 6, y2: 6, "stroke-width": 2.4, class: colour ? "" : "grey", ...(colour ? { stroke: colour } : { stroke: "var(--soft)" }) }));
      list.append(el("li", {}, key, name));
    });
    return list;
  };

  const draw = (stage, data) => {
    if (data.kind === "embedding") {
      stage.append(legend(data.classes.map((look) => ({ ...look, shape: mark(look) }))));
    } else {
      const unique = new Map(data.panels.flatMap((panel) => panel.lines).map((line) => [data.kind === "reliability" ? line.name + line.colour : line.name, line]));
      if (data.kind === "curves") stage.append(legend([...unique.values()]));
    }
    data.panels.forEach((panel) => {
      const title = el("h5", {}, panel.run ? el("a", { href: `#${panel.run}` }, panel.title) : panel.title);
      const part = el("div", {}, title, data.kind === "embedding" ? points(panel, data) : lines(panel, data));
      if (panel.matrix) part.append(matrix(panel, data));
      stage.append(part);
    });
  };

  // The drawing is made when the reader comes near; the saved figure stays one button away, and is what prints.
  window.lungkerasLive = { el, hush };
  const watch = new IntersectionObserver((changes) => changes.forEach(({ target, isIntersecting }) => {
    if (!isIntersecting) return;
    watch.unobserve(target);
    const stage = target.querySelector(".stage-live");
    const data = JSON.parse(target.dataset.live);
    if (data.kind === "wall") window.lungkerasLive.wall(stage, data);
    else draw(stage, data);
  }), { rootMargin: "1200px 0px" });
  document.querySelectorAll("figure.live").forEach((figure) => {
    const kind = JSON.parse(figure.dataset.live).kind;
    const saved = figure.querySelector(".enlarge");
    const stage = el("div", { class: `stage-live ${kind}` });
    const names = [["Explore", stage], ["As printed", saved]];
    const buttons = names.map(([words]) => el("button", { type: "button", "aria-pressed": "false" }, words));
    const choose = (chosen) => names.forEach(([, part], place) => {
      part.hidden = place !== chosen;
      buttons[place].setAttribute("aria-pressed", String(place === chosen));
    });
    buttons.forEach((button, place) => button.addEventListener("click", () => choose(place)));
    figure.prepend(el("p", { class: "switch" }, ...buttons), stage);
    choose(0);
    watch.observe(figure);
  });
  addEventListener("scroll", hush, { passive: true });
})();
