"use strict";

// Replaces what is shown, once a second. Without this script the page is reloaded instead.
const main = document.querySelector("main");
const since = document.querySelector("#lost time");

async function look() {
  try {
    const answer = await fetch("live", { cache: "no-store", signal: AbortSignal.timeout(5000) });
    if (!answer.ok) throw new Error(answer.statusText);
    const text = await answer.text();
    // Whoever has scrolled a table sideways stays there.
    const places = [...main.querySelectorAll(".scrolls")].map((table) => table.scrollLeft);
    main.innerHTML = text;
    main.querySelectorAll(".scrolls").forEach((table, place) => {
      table.scrollLeft = places[place] ?? 0;
    });
    document.body.classList.remove("lost");
  } catch {
    if (!document.body.classList.contains("lost")) {
      since.textContent = new Date().toLocaleTimeString();
      document.body.classList.add("lost");
    }
  }
  setTimeout(look, 1000);
}

setTimeout(look, 1000);
