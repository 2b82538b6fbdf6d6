// The wall of the most confident errors, and the tiles that this script cuts from a sheet of pictures.
(() => {
  const { el, kinds } = window.lungkerasLive;
  const SIDE = 128;
  const PICTURES = ["as published", "as prepared", "heat map"];

  const sheet = (id) => document.getElementById(id);
  const blend = (canvas, image, places, share = 0) => {
    const columns = Number(image.dataset.columns);
    const tile = image.naturalWidth / columns;
    const context = canvas.getContext("2d");
    const paint = (place, alpha) => {
      context.globalAlpha = alpha;
      context.drawImage(image, (place % columns) * tile, Math.floor(place / columns) * tile, tile, tile, 0, 0, canvas.width, canvas.height);
    };
    paint(places[0], 1);
    if (share > 0) paint(places[1], share);
  };
  window.lungkerasTile = (id, places) => {
    const image = sheet(id);
    if (!image || !image.complete || !image.naturalWidth) return null;
    const canvas = el("canvas", { width: SIDE, height: SIDE });
    blend(canvas, image, places);
    return canvas;
  };

  kinds.wall = (stage, data) => {
    const image = sheet(data.sheet);
    const option = (words, value) => el("option", { value }, words);
    const choice = (words, every, names, chosen) => {
      const list = el("select", {}, option(every, -1), ...names.map((name, place) => option(name, place)));
      list.value = String(chosen);
      return { list, label: el("label", {}, words[0].toUpperCase() + words.slice(1), list) };
    };
    const model = choice("model", "all models", data.runs.map(({ name }) => name), data.chosen);
    const kind = choice("class", "all classes", data.classes, -1);
    const slider = el("input", { type: "range", min: "0", max: "2", step: "0.05", value: "1", "aria-valuetext": PICTURES[1] });
    const shown = el("span", {}, PICTURES[1]);
    const count = el("span", { role: "status" });
    const wall = el("ul", { class: "wall" });
    stage.append(el("div", { class: "tools" }, model.label, kind.label, el("label", {}, "Picture", slider, shown), count),
      el("p", { class: "hint" }, "The heat map is that of Grad-CAM for the class that was called; of several findings, for the finding in question. A click enlarges a scan."), wall);

    let cards = [];
    const paint = () => {
      const at = Number(slider.value);
      const place = Math.min(Math.floor(at), 1);
      shown.textContent = PICTURES[Math.round(at)];
      slider.setAttribute("aria-valuetext", PICTURES[Math.round(at)]);
      if (image.complete && image.naturalWidth) cards.forEach(({ canvas, row }) => blend(canvas, image, [3 * row + place, 3 * row + place + 1], at - place));
    };
    const fill = () => {
      cards = [];
      data.rows.forEach(([run, of, error, truth, predicted, probability, scan, explained], row) => {
        if (model.list.value !== "-1" && run !== Number(model.list.value)) return;
        if (kind.list.value !== "-1" && of !== Number(kind.list.value)) return;
        const words = `${scan}: ${truth}, called ${predicted} with ${probability.toFixed(2)}; heat map for ${explained}`;
        const canvas = el("canvas", { width: SIDE, height: SIDE, "aria-hidden": "true" });
        const picture = el("button", { type: "button", class: "picture", "aria-label": words, "aria-expanded": "false" }, canvas);
        const about = el("div", {}, "true ", el("b", {}, truth), el("br"), "called ", el("b", {}, predicted), el("br"),
          `${data.classes[of]} ${error}, ${probability.toFixed(2)}`, el("br"), el("a", { href: `#${data.runs[run].run}` }, data.runs[run].name), el("br"), el("span", { class: "file" }, scan));
        const card = el("li", {}, picture, about);
        picture.addEventListener("click", () => picture.setAttribute("aria-expanded", String(card.classList.toggle("large"))));
        cards.push({ canvas, row, card });
      });
      wall.replaceChildren(...cards.map(({ card }) => card));
      count.textContent = `${cards.length} of ${data.rows.length} errors`;
      paint();
    };
    slider.addEventListener("input", paint);
    [model.list, kind.list].forEach((list) => list.addEventListener("change", fill));
    if (!image.complete) image.addEventListener("load", paint);
    fill();
  };
})();
