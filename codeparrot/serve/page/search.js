// The panel that searches the server's index. The page loads it where the server has one.
//
// As on the page, what the server says enters the document as text. A search stops the one before it, and no completion.

import { $, ask, code, count, node, number, type } from "./page.js";

const MOST_HITS = 10;
const STALE = { changed: "changed since the index was built", gone: "gone since the index was built" };

let searching = null; // The AbortController of the search that runs.

// Shows the panel.
export function show({ files, chunks }) {
  $("search").hidden = false;
  say(`${count(chunks, "piece")} of ${count(files, "file")}.`);
}

function say(text, wrong = false) {
  $("search-status").textContent = text;
  $("search-status").className = wrong ? "wrong" : "";
}

// Searches for {text} or {like: "FILE:LINE"}.
async function search(wanted) {
  searching?.abort();
  const own = (searching = new AbortController());
  say("Searching.");
  try {
    const told = await (await ask("v1/search", { ...wanted, top: MOST_HITS }, own.signal)).json();
    $("hits").replaceChildren(...told.hits.map(item));
    $("hits").scrollTop = 0;
    say(summary(told));
  } catch (error) {
    if (own.signal.aborted) return;
    $("hits").replaceChildren(); // Those of another search would pass for the answer.
    say(error.message, true);
  }
}

function summary({ hits, like_chunk: own, like_state: state, changed, gone, files }) {
  const what = own ? ` like ${place(own)}${state in STALE ? `, which is ${STALE[state]}` : ""}` : "";
  const stale = [[changed, "changed"], [gone, "gone"]].filter(([paths]) => paths.length).map(([paths, word]) => `${number(paths.length)} ${word}`);
  return `${count(hits.length, "piece")}${what}.${stale.length ? ` Of ${count(files, "file")} since the build: ${stale.join(", ")}.` : ""}`;
}

const place = ({ path, start, stop, name }) => `${path}:${start}-${stop}${name && ` ${name}`}`;

function item(hit) {
  const stale = hit.state in STALE ? [" ", node("span", { className: "stale" }, `[${STALE[hit.state]}]`)] : [];
  const found = node("button", { type: "button" }, place(hit), ` (${number(hit.score, 3)})`, ...stale, node("code", {}, hit.preview));
  found.onclick = () => type(hit.preview);
  const more = node("button", { type: "button", className: "more", ariaLabel: `More like ${place(hit)}` }, "More like this");
  more.onclick = () => search({ like: `${hit.path}:${hit.spans[0][0]}` });
  return node("li", {}, found, more);
}

function submit() {
  const text = $("search-text").value;
  if (text.trim()) search({ text });
  else say("Nothing to look for: write a description or a piece of code.", true);
}

$("search-form").onsubmit = (event) => {
  event.preventDefault();
  submit();
};
$("search-text").onkeydown = (event) => {
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  submit();
};
$("search").addEventListener("keydown", (event) => {
  if (event.key === "Escape") code.focus();
});
document.addEventListener("keydown", (event) => {
  if (!event.ctrlKey || !event.shiftKey || event.code !== "KeyF") return;
  event.preventDefault();
  const selected = document.activeElement === code ? code.value.slice(code.selectionStart, code.selectionEnd) : "";
  if (selected.trim()) $("search-text").value = selected;
  $("search-text").focus();
  $("search-text").select();
  if (selected.trim()) submit();
});
