// Scores by learning rate, hit rates by class, and maps while the weights are randomised.
(() => {
  const { WIDTH, HEIGHT, el, svg, short, between, say, line, steps, frame, onPage, readable, marker, legend, cut, kinds } = window.lungkerasLive;
  const LEFT = 38, RIGHT = 10, TOP = 18, BOTTOM = 36;
  const ROW = 50, NAME = 13; // of a class: its height, and the part of it that names the class

  const rules = (plot, ticks, y) => ticks.forEach((tick) => plot.append(
    svg("line", { class: "rule", x1: LEFT, x2: WIDTH - RIGHT, y1: y(tick), y2: y(tick) }),
    svg("text", { x: LEFT - 6, y: y(tick) + 4, "text-anchor": "end" }, short(tick)),
  ));
  const under = (plot, words, x, y = HEIGHT - 8) => plot.append(svg("text", { x, y, "text-anchor": "middle" }, words));
  // The pictures of one part of a saved figure, in a row; each has a name.
  const strip = (saved, group, name) => {
    const image = saved.querySelector("img");
    const own = JSON.parse(saved.dataset.pictures || "[]").filter((picture) => picture.group === group);
    const items = own.map((picture, place) => el("li", {}, cut(image, picture.box, `Map: ${name(picture, place)}`), name(picture, place)));
    return { own, image, list: items.length ? el("ul", { class: "strip" }, ...items) : "" };
  };

  kinds.bars = (stage, data) => data.panels.forEach((panel) => {
    const wide = (WIDTH - LEFT - RIGHT) / panel.bars.length;
    const x = (place) => LEFT + (place + 0.5) * wide;
    const y = (value) => HEIGHT - BOTTOM - value * (HEIGHT - TOP - BOTTOM);
    const plot = frame(`${panel.title}. ${panel.bars.map((bar) => `${data.x} ${bar.name}: ${short(bar.y)}`).join(", ")}. Arrow keys read the values.`);
    rules(plot, steps(0, 1, 4), y);
    const mark = svg("rect", { class: "row", y: TOP, width: wide, height: HEIGHT - TOP - BOTTOM, visibility: "hidden" });
    plot.append(mark);
    panel.bars.forEach((bar, place) => {
      const value = bar.y || 0;
      plot.append(svg("rect", { x: x(place) - wide * 0.32, y: y(value), width: wide * 0.64, height: y(0) - y(value), fill: bar.colour }));
      if (bar.low !== null && bar.high !== null) plot.append(svg("line", { class: "span", x1: x(place), x2: x(place), y1: y(bar.low), y2: y(bar.high) }));
      under(plot, short(bar.y), x(place), y(Math.max(value, bar.high || 0)) - 4);
      under(plot, bar.name, x(place), HEIGHT - 22);
    });
    under(plot, data.x, LEFT + (WIDTH - LEFT - RIGHT) / 2);
    readable(plot, {
      order: panel.bars.map((_, place) => place),
      nearest: (across) => Math.max(0, Math.min(panel.bars.length - 1, Math.floor((across - LEFT) / wide))),
      read: (place, where) => {
        const bar = panel.bars[place];
        mark.setAttribute("x", x(place) - wide / 2);
        mark.setAttribute("visibility", "visible");
        const found = [el("b", {}, `${data.x} ${bar.name}`), line(data.y, short(bar.y), bar.colour)];
        if (bar.low !== null && bar.high !== null) found.push(line("95 % interval", `${short(bar.low)} to ${short(bar.high)}`));
        if (bar.epoch !== null) found.push(line("best epoch", short(bar.epoch)));
        say(found, ...(where || onPage(plot, x(place), y(bar.y || 0))));
      },
      leave: () => mark.setAttribute("visibility", "hidden"),
    });
    stage.append(el("div", {}, el("h5", {}, panel.title), plot));
  });

  // Above, all findings with intervals; below, class by class.
  const rows = (stage, data, saved) => data.panels.forEach((panel) => {
    const height = panel.rows.length * ROW + BOTTOM;
    const x = (value) => 10 + value * (WIDTH - 20);
    const y = (place) => place * ROW + NAME;
    const lanes = panel.lines.filter((one) => !one.baseline).length || 1;
    const lane = (at) => NAME / 2 + ((at + 0.5) * (ROW - NAME - 4)) / lanes;
    const all = panel.lines.map((one) => `${one.name} ${short(one.y[0])}`).join(", ");
    const plot = frame(`${panel.title}, ${panel.rows[0].name}: ${all}. Arrow keys go from class to class.`, height);
    const mark = svg("rect", { class: "row", x: 0, width: WIDTH, height: ROW, visibility: "hidden" });
    plot.append(mark);
    steps(0, 1, 5).forEach((tick) => {
      plot.append(svg("line", { class: "rule", x1: x(tick), x2: x(tick), y1: 2, y2: height - BOTTOM }));
      under(plot, short(tick), x(tick), height - BOTTOM + 14);
    });
    under(plot, data.x, WIDTH / 2, height - 6);
    panel.rows.forEach((row, place) => {
      plot.append(svg("text", { class: "name", x: 10, y: y(place) }, `${row.name} (${row.n})`));
      let at = 0;
      panel.lines.forEach((one) => {
        const down = y(place) + (one.baseline ? lane((lanes - 1) / 2) : lane(at++));
        const value = one.y[place];
        if (value === null) return;
        if (!place && one.low[place] !== null) plot.append(svg("line", { x1: x(one.low[place]), x2: x(one.high[place]), y1: down, y2: down, stroke: one.colour || "var(--soft)" }));
        plot.append(marker(one, { transform: `translate(${x(value).toFixed(1)} ${down.toFixed(1)})${one.baseline ? " scale(1.7)" : ""}` }));
      });
    });
    readable(plot, {
      order: panel.rows.map((_, place) => place),
      nearest: (_, down) => Math.max(0, Math.min(panel.rows.length - 1, Math.floor(down / ROW))),
      read: (place, where) => {
        mark.setAttribute("y", place * ROW);
        mark.setAttribute("visibility", "visible");
        const row = panel.rows[place];
        const found = [el("b", {}, `${row.name}, ${row.n} ${row.n === 1 ? "finding" : "findings"}`)];
        panel.lines.forEach((one) => found.push(line(one.name, short(one.y[place]) + between(one.low[place], one.high[place]), one.colour)));
        say(found, ...(where || onPage(plot, 60, (place + 1) * ROW)));
      },
      leave: () => mark.setAttribute("visibility", "hidden"),
    });
    const { list } = strip(saved, panel.title, (picture) => picture.title);
    stage.append(el("div", {}, el("h5", {}, panel.title), list, plot));
  });
  kinds.rows = (stage, data, saved) => {
    stage.append(legend([...new Map(data.panels.flatMap((panel) => panel.lines).map((one) => [one.name, one])).values()]));
    rows(stage, data, saved);
  };

  kinds.steps = (stage, data, saved) => {
    stage.append(legend(data.legend));
    data.panels.forEach((panel) => {
      const last = panel.steps.length - 1 || 1;
      const low = Math.min(-0.05, ...panel.lines.flatMap((one) => [...one.y, ...one.low]).filter((value) => value !== null));
      const x = (place) => LEFT + 18 + (place / last) * (WIDTH - LEFT - RIGHT - 36);
      const y = (value) => HEIGHT - BOTTOM - ((value - low) / (1.05 - low)) * (HEIGHT - 8 - BOTTOM);
      const ends = panel.lines.map((one) => `${one.name} ${short(one.y[last])}, maps of other scans ${short(one.floor)}`);
      const plot = frame(`${panel.title}. SSIM when all weights are randomised: ${ends.join("; ")}. Arrow keys read each step.`);
      rules(plot, steps(low, 1, 4), y);
      panel.steps.forEach((name, place) => under(plot, name, x(place), HEIGHT - 22));
      under(plot, data.x, LEFT + (WIDTH - LEFT - RIGHT) / 2);
      const cross = svg("line", { class: "cross", y1: 8, y2: HEIGHT - BOTTOM, visibility: "hidden" });
      plot.append(cross);
      const points = (values) => values.map((value, place) => (value === null ? null : `${x(place).toFixed(1)} ${y(value).toFixed(1)}`)).filter(Boolean);
      panel.lines.forEach((one) => {
        const [ups, downs] = [one.high, one.low].map((values) => points(values.map((value, place) => value ?? one.y[place])));
        plot.append(svg("polygon", { class: "band", points: [...ups, ...downs.reverse()].join(" "), fill: one.colour }));
        plot.append(svg("line", { class: "floor", x1: LEFT, x2: WIDTH - RIGHT, y1: y(one.floor), y2: y(one.floor), "stroke-dasharray": one.below }));
        plot.append(svg("polyline", { class: "line", points: points(one.y).join(" "), stroke: one.colour, "stroke-dasharray": one.dash || "none" }));
        one.y.forEach((value, place) => value !== null && plot.append(marker(one, { transform: `translate(${x(place).toFixed(1)} ${y(value).toFixed(1)})` })));
      });
      const { own, image, list } = strip(saved, panel.title, (_, place) => panel.steps[place] || "");
      readable(plot, {
        order: panel.steps.map((_, place) => place),
        nearest: (across) => Math.max(0, Math.min(panel.steps.length - 1, Math.round(((across - LEFT - 18) / (WIDTH - LEFT - RIGHT - 36)) * last))),
        read: (place, where) => {
          ["x1", "x2"].forEach((end) => cross.setAttribute(end, x(place)));
          cross.setAttribute("visibility", "visible");
          const found = own[place] ? [cut(image, own[place].box)] : [];
          found.push(el("b", {}, place ? `randomised down to ${panel.steps[place]}` : panel.steps[0]));
          panel.lines.forEach((one) => found.push(line(one.name, short(one.y[place]) + between(one.low[place], one.high[place]), one.colour), line("of other scans", short(one.floor))));
          say(found, ...(where || onPage(plot, x(place), 30)));
        },
        leave: () => cross.setAttribute("visibility", "hidden"),
      });
      stage.append(el("div", {}, el("h5", {}, el("a", { href: `#${panel.run}` }, panel.title)), list, plot));
    });
  };
})();
