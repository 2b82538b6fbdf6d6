"use strict";
(() => {
  const root = document.documentElement;
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];

  const remembered = (value) => {
    try {
      if (value) localStorage.setItem("theme", value);
      return localStorage.getItem("theme");
    } catch {
      return null;
    }
  };
  const dark = () => (root.dataset.theme || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";
  // On a dark ground a filter turns the lines and words of a figure light; scans and heat maps are laid over as they are.
  const asTheyAre = (figure) => {
    const image = figure.querySelector("img");
    const [wide, high] = [image.naturalWidth, image.naturalHeight];
    const canvas = Object.assign(document.createElement("canvas"), { width: wide, height: high });
    const context = canvas.getContext("2d");
    JSON.parse(figure.dataset.pictures).forEach(({ box }) => {
      const part = box.map((share, side) => Math.round(share * [wide, high][side % 2]));
      context.drawImage(image, ...part, ...part);
    });
    return canvas;
  };
  const near = new Set();
  const overlay = () => near.forEach((figure) => {
    const image = figure.querySelector("img");
    if (!dark() || figure.querySelector("canvas") || figure.dataset.pictures === "[]") return;
    if (image.complete && image.naturalWidth) figure.append(asTheyAre(figure));
    else image.addEventListener("load", overlay, { once: true });
  });
  const approach = new IntersectionObserver((changes) => {
    changes.filter(({ isIntersecting }) => isIntersecting).forEach(({ target }) => near.add(target));
    overlay();
  }, { rootMargin: "900px 0px" });
  all("[data-pictures]").forEach((figure) => approach.observe(figure));

  const button = document.getElementById("theme");
  const name = () => {
    button.textContent = dark() ? "Light" : "Dark";
    root.classList.toggle("night", dark());
    overlay();
  };
  const before = remembered();
  if (before) root.dataset.theme = before;
  button.hidden = false;
  button.addEventListener("click", () => {
    root.dataset.theme = dark() ? "light" : "dark";
    remembered(root.dataset.theme);
    name();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", name);
  name();

  const box = document.getElementById("lightbox");
  const picture = box && box.querySelector("img");
  const paper = box && box.querySelector(".paper");
  const figures = all("a.enlarge");
  let at = 0;
  const show = (place) => {
    at = (place + figures.length) % figures.length;
    const small = figures[at].querySelector("img");
    picture.src = small.src;
    picture.alt = small.alt;
    const { pictures } = figures[at].dataset;
    paper.querySelectorAll("canvas").forEach((before) => before.remove());
    paper.classList.toggle("plain", pictures === undefined);
    if (pictures !== undefined) paper.append(asTheyAre(figures[at]));
    paper.style.setProperty("--wide", small.naturalWidth);
    paper.style.setProperty("--ratio", small.naturalWidth / small.naturalHeight);
    box.classList.remove("full");
    document.getElementById("lightbox-title").textContent = figures[at].closest(".item").querySelector("h4").textContent;
  };
  figures.forEach((figure, place) => figure.addEventListener("click", (event) => {
    if (event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    show(place);
    box.showModal();
  }));
  if (box) {
    box.addEventListener("click", (event) => {
      const { step, zoom, close } = event.target.dataset;
      if (step) show(at + Number(step));
      else if (zoom !== undefined || event.target === picture) box.classList.toggle("full");
      else if (close !== undefined || event.target === box || event.target.classList.contains("stage")) box.close();
    });
    box.addEventListener("keydown", (event) => {
      if (box.classList.contains("full")) return;
      if (event.key === "ArrowLeft") show(at - 1);
      if (event.key === "ArrowRight") show(at + 1);
    });
  }

  const reveal = () => {
    const target = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (!target) return;
    let folded = target.closest("details");
    if (!folded) return;
    for (; folded; folded = folded.parentElement.closest("details")) folded.open = true;
    target.scrollIntoView();
  };
  addEventListener("hashchange", reveal);
  document.addEventListener("click", (event) => {
    const link = event.target.closest('a[href^="#"]');
    if (link && link.hash === location.hash) setTimeout(reveal);
  });
  reveal();

  // Contents that follow the reader: open beside the text where there is room, a bar with the section's name where not.
  const contents = document.getElementById("contents");
  if (!contents) return;
  const toc = document.getElementById("toc");
  const wide = matchMedia("(min-width: 72rem)");
  const fit = () => { toc.open = wide.matches; };
  wide.addEventListener("change", fit);
  fit();
  toc.querySelector("summary").addEventListener("click", (event) => { if (wide.matches) event.preventDefault(); });
  toc.addEventListener("click", (event) => { if (!wide.matches && event.target.closest("a")) toc.open = false; });
  toc.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && !wide.matches) {
      toc.open = false;
      toc.querySelector("summary").focus();
    }
  });
  const entries = new Map(all("a", contents).map((a) => [a.getAttribute("href").slice(1), a]));
  const order = [...entries.keys()];
  const seen = new Set();
  let current = null;
  const mark = () => {
    const here = order.filter((id) => seen.has(id)).pop();
    if (!here || here === current) return;
    current = here;
    entries.forEach((a, id) => (id === here ? a.setAttribute("aria-current", "true") : a.removeAttribute("aria-current")));
    const a = entries.get(here);
    document.getElementById("here").textContent = a.textContent;
    if (wide.matches && !contents.contains(document.activeElement)) {
      const [top, bottom] = [a.offsetTop - 60, a.offsetTop + 60 - contents.clientHeight];
      if (contents.scrollTop > top) contents.scrollTop = top;
      else if (contents.scrollTop < bottom) contents.scrollTop = bottom;
    }
  };
  const watch = new IntersectionObserver((changes) => {
    changes.forEach(({ target, isIntersecting }) => (isIntersecting ? seen.add(target.id) : seen.delete(target.id)));
    mark();
  }, { rootMargin: "-10% 0px -75% 0px" });
  entries.forEach((_, id) => { const target = document.getElementById(id); if (target) watch.observe(target); });
})();
