// Improves the pages. They also work without this script.
"use strict";

// Copies a secret to the clipboard.
for (const button of document.querySelectorAll("[data-copy]")) {
  if (!navigator.clipboard) continue;
  button.hidden = false;
  button.addEventListener("click", async () => {
    const secret = document.getElementById(button.dataset.copy);
    getSelection().selectAllChildren(secret);
    try {
      await navigator.clipboard.writeText(secret.textContent);
      button.textContent = "Copied";
    } catch {
      button.textContent = "Press Ctrl+C";
    }
    setTimeout(() => { button.textContent = "Copy"; }, 2500);
  });
}

// On a narrow screen, scrolls the link of the current page into view, unless it is visible already.
const nav = document.querySelector("nav");
const current = nav?.querySelector("[aria-current]")?.getBoundingClientRect();
if (current && (current.left < 0 || current.right > nav.getBoundingClientRect().right)) nav.scrollLeft += current.left - 16;

// Shows times relative to now.
const relative = new Intl.RelativeTimeFormat(undefined, { numeric: "auto" });
function tellTimes(root) {
  for (const time of root.querySelectorAll("time[datetime]")) {
    const seconds = (new Date(time.dateTime) - Date.now()) / 1000;
    const steps = [["day", 86400], ["hour", 3600], ["minute", 60], ["second", 1]];
    const [unit, length] = steps.find(([, length]) => Math.abs(seconds) >= length) ?? steps[3];
    time.title = time.dateTime;
    time.textContent = relative.format(Math.round(seconds / length), unit);
  }
}
tellTimes(document);

// Keeps at most one dialog open.
document.addEventListener("toggle", (event) => {
  const opened = event.target;
  if (!opened.matches?.("details.ask[open]")) return;
  for (const other of document.querySelectorAll("details.ask[open]")) if (other !== opened) other.open = false;
  opened.querySelector("select, button")?.focus();
}, true);
document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape") return;
  for (const open of document.querySelectorAll("details.ask[open]")) {
    open.open = false;
    open.querySelector("summary").focus();
  }
});

// A new secret is shown once, so a reload shows the list.
if (!document.querySelector("meta[http-equiv=refresh]")) {
  const address = new URL(location.href);
  for (const once of ["sent", "done", "resume"]) {
    if (address.searchParams.has(once)) history.replaceState(null, "", address.pathname);
  }
}

// Reloads a live list every five seconds, unless the user is interacting with it.
const live = document.querySelector("[data-live]");
if (live) {
  document.querySelector("p.live")?.remove();
  const cursor = new URLSearchParams(location.search).get("cursor");
  const list = live.dataset.live + (cursor ? `?cursor=${encodeURIComponent(cursor)}` : "");
  setInterval(async () => {
    if (document.hidden || live.querySelector("details[open]") || live.contains(document.activeElement)) return;
    try {
      const answer = await fetch(list, { headers: { accept: "text/html", "x-postern-poll": "1" }, redirect: "error" });
      if (!answer.ok) return;
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      const fresh = page.querySelector("[data-live]");
      if (!fresh) return;
      fresh.querySelector("p.live")?.remove();
      tellTimes(fresh);
      live.replaceChildren(...fresh.childNodes);
    } catch { /* try again at the next interval */ }
  }, 5000);
}
