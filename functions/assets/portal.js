// Improves the pages. They also work without this script.
"use strict";

// Copies what a button names to the clipboard: a secret, an id or an example.
function offerCopies(root) {
  if (!navigator.clipboard) return;
  for (const button of root.querySelectorAll("[data-copy]")) button.hidden = false;
}
offerCopies(document);
document.addEventListener("click", async (event) => {
  const button = event.target.closest?.("[data-copy]");
  if (!button) return;
  const source = document.getElementById(button.dataset.copy);
  const label = button.firstChild;
  getSelection().selectAllChildren(source);
  try {
    await navigator.clipboard.writeText(source.textContent);
    label.data = "Copied";
  } catch {
    label.data = "Press Ctrl+C";
  }
  setTimeout(() => { label.data = "Copy"; }, 2500);
});

// On a narrow screen, scrolls the link of the current page into view, unless it is visible already.
const nav = document.querySelector("nav");
const current = nav?.querySelector("[aria-current]")?.getBoundingClientRect();
if (current && (current.left < 0 || current.right > nav.getBoundingClientRect().right)) nav.scrollLeft += current.left - 16;

// The title of a time is in the reader's own time zone.
function localizeTimes(root) {
  for (const time of root.querySelectorAll("time[datetime]")) {
    time.title = new Date(time.dateTime).toLocaleString("en-GB", { dateStyle: "medium", timeStyle: "long" });
  }
}
localizeTimes(document);

// At most one form is open. Escape and a click elsewhere close it, and its first field has the focus.
const FORMS = "details.ask[open], details.new[open]";
const openForms = () => document.querySelectorAll(FORMS);
document.addEventListener("toggle", (event) => {
  const opened = event.target;
  if (!opened.matches?.(FORMS)) return;
  for (const other of openForms()) if (other !== opened) other.open = false;
  opened.querySelector("[autofocus], input:not([type=hidden]), select, button")?.focus();
}, true);
document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape") return;
  for (const open of openForms()) {
    open.open = false;
    open.querySelector("summary").focus();
  }
});
document.addEventListener("click", (event) => {
  for (const open of openForms()) if (!open.contains(event.target)) open.open = false;
});

// A new secret is shown once, so a reload shows the list.
if (!document.querySelector("meta[http-equiv=refresh]")) {
  const address = new URL(location.href);
  if (address.searchParams.has("resume")) address.search = "";
  for (const once of ["sent", "done"]) address.searchParams.delete(once);
  if (address.href !== location.href) history.replaceState(null, "", address);
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
      localizeTimes(fresh);
      offerCopies(fresh);
      live.replaceChildren(...fresh.childNodes);
    } catch { /* try again at the next interval */ }
  }, 5000);
}
