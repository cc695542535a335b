"use strict";
(() => {
  const root = document.documentElement;
  const theme = localStorage.getItem("theme");
  if (theme) root.dataset.theme = theme;
  const EVERY = 1500;

  const spans = [[60, 1, "s"], [3600, 60, "min"], [172800, 3600, "h"], [Infinity, 86400, "d"]];
  function tick() {
    for (const time of document.querySelectorAll("time:not([data-exact])")) {
      const seconds = (Date.parse(time.dateTime) - Date.now()) / 1000;
      const length = Math.floor(Math.abs(seconds));
      const [, unit, name] = spans.find(([end]) => length < end);
      const text = `${Math.floor(length / unit)} ${name}`;
      time.textContent = seconds > 0 ? `in ${text}` : length ? `${text} ago` : "just now";
    }
  }

  /** Whether a refresh would take something out of the visitor's hands. */
  function busy(live) {
    const selection = getSelection();
    const selecting = !selection.isCollapsed && live.contains(selection.anchorNode);
    return document.hidden || selecting || live.querySelector("details[open], [data-hold]:hover, [data-hold]:focus-within");
  }

  async function refresh() {
    const live = document.querySelector("#live[data-live]");
    if (!live) return;
    if (!busy(live)) {
      try {
        const answer = await fetch(location.href, { headers: { accept: "text/html" } });
        // Signed out meanwhile: the next click asks to sign in.
        if (answer.redirected) return;
        if (answer.ok) {
          const page = new DOMParser().parseFromString(await answer.text(), "text/html");
          const next = page.querySelector("#live");
          if (next && !busy(live)) {
            const focused = live.contains(document.activeElement) && document.activeElement.getAttribute("href");
            live.replaceWith(next);
            prepare(next);
            if (focused) next.querySelector(`a[href="${CSS.escape(focused)}"]`)?.focus({ preventScroll: true });
          }
        }
      } catch {
        // The server is away: try again.
      }
    }
    setTimeout(refresh, EVERY);
  }

  function prepare(part) {
    for (const code of part.querySelectorAll("[data-curl]")) code.textContent = code.textContent.replace("ORIGIN", location.origin);
    tick();
  }

  document.addEventListener("click", (event) => {
    const copy = event.target.closest("[data-copy]");
    if (copy) {
      navigator.clipboard.writeText(document.querySelector(copy.dataset.copy).textContent);
      copy.textContent = "Copied";
      setTimeout(() => { copy.textContent = "Copy"; }, 1200);
    }
    if (event.target.closest("[data-theme-toggle]")) {
      const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
      root.dataset.theme = dark ? "light" : "dark";
      localStorage.setItem("theme", root.dataset.theme);
    }
  });
  document.addEventListener("change", (event) => {
    if (event.target.matches("[data-submit]")) event.target.form.submit();
  });
  document.addEventListener("DOMContentLoaded", () => {
    prepare(document);
    setInterval(tick, 1000);
    setTimeout(refresh, EVERY);
  });
})();
