// Tables: a click on a heading sorts the rows of each group, a word in the box keeps the rows that hold it, and a button
// saves the rows that are shown.
(() => {
  const FEWEST = 6; // rows that are worth a filter

  const value = (row, place) => {
    const text = row.cells[place] ? row.cells[place].textContent.trim() : "";
    const number = text.replace(/,/g, "").match(/^[<>]?\s*([−-]?\d+(\.\d+)?)/);
    return { text, number: number ? Number(number[1].replace("−", "-")) : null };
  };
  const compare = (one, other, numbers) => {
    if (!numbers) return one.text.localeCompare(other.text, "en", { numeric: true });
    if (one.number === null || other.number === null) return (one.number === null) - (other.number === null);
    return one.number - other.number;
  };
  const rowsOf = (body) => [...body.rows].filter((row) => !row.classList.contains("group"));

  // The title of each column, with that of its group before it.
  const columns = (table) => {
    const below = table.tHead.rows[1] ? [...table.tHead.rows[1].cells] : [];
    const words = (cell) => cell.textContent.trim();
    return [...table.tHead.rows[0].cells].flatMap((cell) =>
      (cell.dataset.place ? [words(cell)] : below.splice(0, cell.colSpan).map((part) => `${words(cell)}, ${words(part)}`)));
  };
  // Numbers without commas between thousands, a dash as nothing; what a spreadsheet takes for a formula is marked as text.
  const field = (text) => {
    const plain = /^[−-]?\d[\d,]*(\.\d+)?$/.test(text) ? text.replace(/,/g, "").replace("−", "-") : text === "–" ? "" : text;
    const safe = /^[=+@\t-]/.test(plain) && Number.isNaN(Number(plain)) ? `'${plain}` : plain;
    return /[",\n]/.test(safe) ? `"${safe.replace(/"/g, '""')}"` : safe;
  };
  const csv = (table) => {
    const groups = [...table.tBodies].some((body) => body.querySelector(".group"));
    const lines = [[...(groups ? ["group"] : []), ...columns(table)]];
    [...table.tBodies].forEach((body) => {
      const group = body.querySelector(".group");
      rowsOf(body).filter((row) => !row.hidden).forEach((row) => {
        const cells = [...row.cells].map((cell) => cell.textContent.trim().replace(/\s+/g, " "));
        lines.push([...(groups ? [group ? group.textContent.trim() : ""] : []), ...cells]);
      });
    });
    return lines.map((line) => `${line.map(field).join(",")}\r\n`).join("");
  };
  const save = (table) => {
    const address = URL.createObjectURL(new Blob([csv(table)], { type: "text/csv" }));
    const link = document.createElement("a");
    const part = table.closest("[id]");
    link.href = address;
    link.download = `${part ? part.id : "table"}_shown.csv`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(address), 1000);
  };

  document.querySelectorAll("table.grid").forEach((table) => {
    const bodies = [...table.tBodies];
    const rows = bodies.flatMap(rowsOf);
    const first = new Map(rows.map((row, place) => [row, place]));
    const heads = [...table.tHead.querySelectorAll("th[data-place]")];

    const sort = (head) => {
      const place = Number(head.dataset.place);
      const before = head.getAttribute("aria-sort");
      const way = before === "ascending" ? "descending" : before === "descending" ? null : "ascending";
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      if (way) head.setAttribute("aria-sort", way);
      bodies.forEach((body) => {
        const own = rowsOf(body).map((row) => ({ row, ...value(row, place) }));
        const numbers = own.some(({ number }) => number !== null);
        own.sort((one, other) => {
          if (!way) return first.get(one.row) - first.get(other.row);
          if (numbers && (one.number === null || other.number === null)) return compare(one, other, true); // nothing stands last
          return (way === "ascending" ? 1 : -1) * compare(one, other, numbers) || first.get(one.row) - first.get(other.row);
        });
        own.forEach(({ row }) => body.append(row));
      });
    };
    if (bodies.some((body) => rowsOf(body).length > 1) && !table.closest(".run")) {
      heads.forEach((head) => {
        const label = head.querySelector("span");
        const button = document.createElement("button");
        button.type = "button";
        button.setAttribute("aria-label", `Sort by ${label.textContent}`);
        label.append("\u00a0", button);
        head.addEventListener("click", (event) => { if (!event.target.closest("a")) sort(head); });
      });
    }

    if (rows.length < FEWEST || table.closest(".run")) return;
    const tools = document.createElement("div");
    tools.className = "tools";
    const label = document.createElement("label");
    const search = document.createElement("input");
    search.type = "search";
    search.setAttribute("aria-label", `Filter the rows of ${table.caption.textContent}`);
    label.append("Filter", search);
    const count = document.createElement("span");
    count.setAttribute("role", "status");
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = "Save these rows";
    button.setAttribute("aria-label", `Save these rows of ${table.caption.textContent} as CSV`);
    button.addEventListener("click", () => save(table));
    tools.append(label, button, count);
    search.addEventListener("input", () => {
      const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
      let kept = 0;
      bodies.forEach((body) => {
        const group = body.querySelector(".group");
        const over = group ? group.textContent.toLowerCase() : "";
        let left = 0;
        rowsOf(body).forEach((row) => {
          const text = `${over} ${row.textContent.toLowerCase()}`;
          row.hidden = !words.every((word) => text.includes(word));
          left += !row.hidden;
        });
        body.hidden = left === 0;
        kept += left;
      });
      count.textContent = words.length ? `${kept} of ${rows.length} rows` : "";
    });
    table.closest(".scroll").before(tools);
  });
})();
