// What the figures drawn anew share: elements, words beside the pointer, a plot that is read by arrow keys.
(() => {
  const SVG = document.createRange().createContextualFragment("<svg></svg>").firstChild.namespaceURI;
  const WIDTH = 340, HEIGHT = 200;
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
  const between = (low, high) => (low === null || high === null || low === undefined ? "" : ` (${short(low)} to ${short(high)})`);

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
  const line = (name, value, colour) => el("p", {}, el("span", {}, ...(colour === undefined ? [] : [dot(colour)]), name), el("span", {}, value));

  const steps = (low, high, wanted = 5) => {
    const rough = (high - low) / wanted || 1;
    const power = 10 ** Math.floor(Math.log10(rough));
    const step = [1, 2, 5, 10].map((factor) => factor * power).find((size) => size >= rough);
    const ticks = [];
    for (let tick = Math.ceil(low / step) * step; tick <= high + step / 1e6; tick += step) ticks.push(tick);
    return ticks;
  };
  // The densest of these ladders that gives at most five ticks between two positive numbers.
  const decades = (low, high) => {
    const rungs = (factors) => {
      const ticks = [];
      for (let power = Math.floor(Math.log10(low)); power <= Math.log10(high); power++) ticks.push(...factors.map((factor) => factor * 10 ** power));
      return ticks.filter((tick) => tick >= low && tick <= high);
    };
    return [[1, 2, 5], [1, 3], [1]].map(rungs).find((ticks) => ticks.length <= 5) || rungs([1]);
  };
  const frame = (label, height = HEIGHT) =>
    svg("svg", { viewBox: `0 0 ${WIDTH} ${height}`, class: "plot", role: "img", tabindex: "0", "aria-label": label });
  const scale = (plot) => {
    const box = plot.getBoundingClientRect();
    return { box, size: box.width / WIDTH };
  };
  const inPlot = (plot, event) => {
    const { box, size } = scale(plot);
    return [(event.clientX - box.left) / size, (event.clientY - box.top) / size];
  };
  const onPage = (plot, x, y) => {
    const { box, size } = scale(plot);
    return [box.left + x * size, box.top + y * size];
  };

  // Reads a plot place by place: the nearest to the pointer, or one after another by arrow keys.
  const readable = (plot, { order, nearest, read, leave }) => {
    let at = -1;
    const away = () => {
      leave();
      hush();
    };
    plot.addEventListener("pointermove", (event) => {
      const place = nearest(...inPlot(plot, event));
      if (place === null) {
        away();
        return;
      }
      at = order.indexOf(place);
      read(place, [event.clientX, event.clientY]);
    });
    plot.addEventListener("pointerleave", away);
    plot.addEventListener("blur", away);
    plot.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
      if (event.key === "Escape") away();
      if (!step) return;
      event.preventDefault();
      at = at < 0 ? (step > 0 ? 0 : order.length - 1) : (at + step + order.length) % order.length;
      read(order[at]);
    });
  };

  const MARKERS = {
    o: "M-3 0a3 3 0 1 0 6 0a3 3 0 1 0 -6 0", "^": "M0 -3.6L3.4 2.6H-3.4Z", v: "M0 3.6L3.4 -2.6H-3.4Z", s: "M-2.8 -2.8h5.6v5.6h-5.6Z",
    D: "M0 -3.8L3.8 0L0 3.8L-3.8 0Z", d: "M0 -4.4L2.6 0L0 4.4L-2.6 0Z", P: "M-1.2 -3.4h2.4v2.2h2.2v2.4h-2.2v2.2h-2.4v-2.2h-2.2v-2.4h2.2Z",
    X: "M-3 -3L3 3M-3 3L3 -3", x: "M-3 -3L3 3M-3 3L3 -3", "|": "M0 -5V5",
  };
  const shape = (look) => MARKERS[look.marker] || MARKERS.s;
  // A marker in the colour of its line, filled or not; without a colour it is grey.
  const marker = (look, place = {}) => {
    const colour = look.colour || "var(--soft)";
    return svg("path", { d: shape(look), fill: look.filled ? colour : "none", stroke: colour, "stroke-width": 1.3, ...place });
  };

  const legend = (looks) => {
    const list = el("ul", { class: "legend" });
    looks.forEach((look) => {
      const key = svg("svg", { viewBox: "0 0 24 12", "aria-hidden": "true" });
      if (!look.marker || look.dash !== undefined) {
        key.append(svg("line", { x1: 1, x2: 23, y1: 6, y2: 6, "stroke-width": 2.4, stroke: look.colour || "var(--soft)", "stroke-dasharray": look.dash || "none" }));
      }
      if (look.marker) key.append(marker(look, { transform: "translate(12 6) scale(1.3)" }));
      list.append(el("li", {}, key, look.name));
    });
    return list;
  };

  // A picture of a saved figure, cut out; `box` is its place in shares of the figure.
  const cut = (image, [left, top, width, height], name) => {
    const canvas = el("canvas", name ? { role: "img", "aria-label": name } : { "aria-hidden": "true" });
    const draw = () => {
      const [wide, high] = [image.naturalWidth, image.naturalHeight];
      canvas.width = Math.max(1, Math.round(width * wide));
      canvas.height = Math.max(1, Math.round(height * high));
      canvas.getContext("2d").drawImage(image, left * wide, top * high, width * wide, height * high, 0, 0, canvas.width, canvas.height);
    };
    if (image.complete && image.naturalWidth) draw();
    else image.addEventListener("load", draw);
    return canvas;
  };

  // {kind: function that fills a stage from the data and from the link of the saved figure}
  const kinds = {};
  window.lungkerasLive = { WIDTH, HEIGHT, el, svg, short, between, say, hush, line, steps, decades, frame, onPage, inPlot, readable, shape, marker, legend, cut, kinds };

  // The drawing is made when the reader comes near; the saved figure stays one button away, and is what prints.
  const watch = new IntersectionObserver((changes) => changes.forEach(({ target, isIntersecting }) => {
    if (!isIntersecting) return;
    watch.unobserve(target);
    const data = JSON.parse(target.dataset.live);
    kinds[data.kind](target.querySelector(".stage-live"), data, target.querySelector(".enlarge"));
  }), { rootMargin: "1200px 0px" });
  document.querySelectorAll("figure.live").forEach((figure) => {
    const { kind } = JSON.parse(figure.dataset.live);
    const stage = el("div", { class: `stage-live ${kind}` });
    const names = [["Explore", stage], ["As printed", figure.querySelector(".enlarge")]];
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
