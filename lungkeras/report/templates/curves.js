// Curves and reliability diagrams: all values at one x are read out together.
(() => {
  const { WIDTH, HEIGHT, el, svg, short, say, line: reading, steps, decades, frame, onPage, readable, legend, kinds } = window.lungkerasLive;
  const LEFT = 38, RIGHT = 10, TOP = 8, BOTTOM = 38;

  const lines = (panel, data) => {
    const numbers = panel.lines.flatMap((line) => [...line.y, ...(line.train || [])]).filter((number) => number !== null);
    const xs = [...new Set(panel.lines.flatMap((line) => line.x))].sort((one, other) => one - other);
    const logarithmic = !panel.unit && Math.min(...numbers) > 0 && Math.max(...numbers) > 20 * Math.min(...numbers);
    const [low, high] = panel.unit ? [0, 1] : logarithmic ? [Math.min(...numbers), Math.max(...numbers)].map(Math.log10) : [0, Math.max(...numbers) || 1];
    const [left, right] = data.kind === "reliability" ? [0, 1] : [xs[0], xs.length > 1 ? xs[xs.length - 1] : xs[0] + 1];
    const x = (value) => LEFT + ((value - left) / (right - left)) * (WIDTH - LEFT - RIGHT);
    const y = (value) => HEIGHT - BOTTOM - (((logarithmic ? Math.log10(value) : value) - low) / (high - low || 1)) * (HEIGHT - TOP - BOTTOM);
    const ends = panel.lines.map((line) => `${line.name} ${short(line.y[line.best ? line.x.indexOf(line.best) : line.y.length - 1])}`);
    const plot = frame(`${panel.title}. ${ends.join(", ")}. Arrow keys read the values.`);
    const ticks = logarithmic ? decades(10 ** low, 10 ** high) : steps(low, high, 4);
    ticks.forEach((tick) => plot.append(
      svg("line", { class: "rule", x1: LEFT, x2: WIDTH - RIGHT, y1: y(tick), y2: y(tick) }),
      svg("text", { x: LEFT - 6, y: y(tick) + 4, "text-anchor": "end" }, short(tick)),
    ));
    steps(left, right, 5).filter((tick) => data.kind === "reliability" || Number.isInteger(tick)).forEach((tick) =>
      plot.append(svg("text", { x: x(tick), y: HEIGHT - 23, "text-anchor": "middle" }, short(tick))));
    plot.append(svg("text", { x: (LEFT + WIDTH - RIGHT) / 2, y: HEIGHT - 6, "text-anchor": "middle" }, data.y ? `${data.x} (vertical: ${data.y})` : data.x));
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
    readable(plot, {
      order: xs.map((_, place) => place),
      nearest: (across) => {
        const wanted = left + ((across - LEFT) / (WIDTH - LEFT - RIGHT)) * (right - left);
        return xs.reduce((best, value, place) => (Math.abs(value - wanted) < Math.abs(xs[best] - wanted) ? place : best), 0);
      },
      read: (place, where) => {
        const here = xs[place];
        cross.setAttribute("x1", x(here));
        cross.setAttribute("x2", x(here));
        cross.setAttribute("visibility", "visible");
        const found = [el("b", {}, `${data.x} ${short(here)}`)];
        panel.lines.forEach((line) => {
          const own = line.x.indexOf(here);
          if (own < 0) return;
          const more = line.train ? ` (train ${short(line.train[own])})` : line.n ? ` of ${line.n[own]}` : "";
          found.push(reading(line.name, short(line.y[own]) + more, line.colour));
        });
        say(found, ...(where || onPage(plot, x(here), TOP + 20)));
      },
      leave: () => cross.setAttribute("visibility", "hidden"),
    });
    return plot;
  };

  const draw = (stage, data) => {
    if (data.kind === "curves") stage.append(legend([...new Map(data.panels.flatMap((panel) => panel.lines).map((line) => [line.name, { name: line.name, colour: line.colour }])).values()]));
    data.panels.forEach((panel) => stage.append(el("div", {}, el("h5", {}, panel.run ? el("a", { href: `#${panel.run}` }, panel.title) : panel.title), lines(panel, data))));
  };
  kinds.curves = draw;
  kinds.reliability = draw;
})();
