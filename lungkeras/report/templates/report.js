"use strict";
(() => {
  const root = document.documentElement;

  const remembered = (value) => {
    try {
      if (value) localStorage.setItem("theme", value);
      return localStorage.getItem("theme");
    } catch {
      return null;
    }
  };
  const dark = () => (root.dataset.theme || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";
  const button = document.getElementById("theme");
  const name = () => { button.textContent = dark() ? "Light" : "Dark"; };
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
  const picture = box.querySelector("img");
  const figures = [...document.querySelectorAll("a.enlarge")];
  let at = 0;
  const show = (place) => {
    at = (place + figures.length) % figures.length;
    const small = figures[at].querySelector("img");
    picture.src = small.src;
    picture.alt = small.alt;
    box.classList.remove("full");
    document.getElementById("lightbox-title").textContent = figures[at].closest(".item").querySelector("h3").textContent;
  };
  figures.forEach((figure, place) => figure.addEventListener("click", (event) => {
    if (event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    show(place);
    box.showModal();
  }));
  box.addEventListener("click", (event) => {
    const { step, zoom, close } = event.target.dataset;
    if (step) show(at + Number(step));
    else if (zoom !== undefined || event.target === picture) box.classList.toggle("full");
    else if (close !== undefined || event.target === box || event.target.className === "stage") box.close();
  });
  box.addEventListener("keydown", (event) => {
    if (event.key === "ArrowLeft") show(at - 1);
    if (event.key === "ArrowRight") show(at + 1);
  });

  const reveal = () => {
    const target = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
    const folded = target && target.closest("details");
    if (folded) {
      folded.open = true;
      target.scrollIntoView();
    }
  };
  addEventListener("hashchange", reveal);
  reveal();

  let closed = [];
  addEventListener("beforeprint", () => {
    closed = [...document.querySelectorAll("main details:not([open], .contents)")];
    closed.forEach((folded) => { folded.open = true; });
  });
  addEventListener("afterprint", () => closed.forEach((folded) => { folded.open = false; }));

  const entries = new Map([...document.querySelectorAll("#contents a")].map((a) => [a.getAttribute("href").slice(1), a]));
  const seen = new Set();
  const mark = () => {
    const here = [...entries.keys()].filter((id) => seen.has(id)).pop();
    entries.forEach((a, id) => (id === here ? a.setAttribute("aria-current", "true") : a.removeAttribute("aria-current")));
  };
  const watch = new IntersectionObserver((changes) => {
    changes.forEach(({ target, isIntersecting }) => (isIntersecting ? seen.add(target.id) : seen.delete(target.id)));
    mark();
  }, { rootMargin: "-10% 0px -75% 0px" });
  entries.forEach((_, id) => { const target = document.getElementById(id); if (target) watch.observe(target); });
})();
