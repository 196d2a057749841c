// The page: an editor over the server's own endpoints, without a library and without a build.
//
// Whatever comes from the code, the model or the server enters the document as text (textContent, text nodes), never as markup;
// the policy that the page is sent with (Trusted Types) refuses anything else. Requests go to this server alone. An API key
// lives in a variable. Offsets are those of JavaScript's strings; the server counts code points (`places`).

export const $ = (id) => document.getElementById(id);
export const code = $("code");
const LIKELY = 5;
const LEVELS = [[0, "under 1 bit"], [1, "1 to 3"], [3, "3 to 6"], [6, "6 to 10"], [10, "10 and more"]];
const MOST_LINES = 10;
const LEAST_WINDOW = 64;
const BYTES = "bytes:"; // How the server writes a token that is no whole characters.
const MOST_CHARACTERS = 4; // A token of code has fewer on average. A window with more tokens than the context holds is halved,
const FULL = 0.85; // and the next ones are to fill so much of the context.

let facts = {};
let key = "";
let running = null; // The AbortController of what runs: one thing at a time.
let ghost = null; // The completion that is shown: {at, texts, ended, shown}.
let cells = []; // Scored text, in order: {start, end, tokens, bits}; bits is null for the first token, which nothing precedes.
let note = ""; // What the reader must know of the scores.
let known = code.value; // The text that cells belong to.
let seen = -1; // The cell whose numbers are shown.

// --- elements

export function node(name, properties = {}, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

function drawn(name, attributes, text = "") {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [each, value] of Object.entries(attributes)) made.setAttribute(each, value);
  made.textContent = text;
  return made;
}

function say(text, wrong = false) {
  $("status").textContent = text;
  $("status").className = wrong ? "wrong" : "";
}

export const number = (value, digits = 0) => value.toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits });
const percent = (probability) => (probability < 0.001 ? "< 0.1%" : `${number(100 * probability, 1)}%`);
export const count = (value, noun) => `${number(value)} ${noun}${value === 1 ? "" : "s"}`;
const bytes = (text) => new TextEncoder().encode(text).length;

// A token's text with what cannot be seen made visible.
function visible(text) {
  const shown = text.replaceAll(" ", "␣").replaceAll("\n", "↵").replaceAll("\t", "⇥");
  return shown.replace(/[\p{C}\p{Zl}\p{Zp}]/gu, (each) => `\\u{${each.codePointAt(0).toString(16)}}`);
}

// --- the server

export async function ask(path, body, signal) {
  for (;;) {
    const headers = { "Content-Type": "application/json" };
    if (key) headers.Authorization = `Bearer ${key}`;
    const reply = await fetch(path, { method: body ? "POST" : "GET", headers, body: body && JSON.stringify(body), signal });
    if (reply.ok) return reply;
    if (reply.status !== 401) throw await refusal(reply);
    await knock(key ? "The server does not know this key." : "");
  }
}

async function refusal(reply) {
  const told = await reply.json().catch(() => ({}));
  const message = told.error?.message ?? `The server answered ${reply.status}.`;
  return Object.assign(new Error(message), { status: reply.status, code: told.error?.code });
}

let knocking = null;
function knock(why) {
  knocking ??= new Promise((resolve, reject) => {
    $("door-why").textContent = why;
    $("key").value = "";
    $("door").onclose = () => {
      knocking = null;
      key = $("key").value;
      $("key").value = "";
      if (key) resolve();
      else reject(new Error("This server asks for its API key: reload the page or try again to enter it."));
    };
    $("door").showModal();
  });
  return knocking;
}
$("door-form").onsubmit = (event) => {
  event.preventDefault();
  $("door").close();
};
$("door-close").onclick = () => {
  $("key").value = "";
  $("door").close();
};

// The events of a stream; one that ends before its [DONE] is an error.
async function* events(reply) {
  const reader = reply.body.pipeThrough(new TextDecoderStream()).getReader();
  for (let rest = ""; ; ) {
    const { value, done } = await reader.read();
    if (done) throw new Error("The server ended its answer early.");
    const lines = (rest + value).split("\n");
    rest = lines.pop();
    for (const line of lines.filter((each) => each.startsWith("data:"))) {
      const data = line.slice(5).trim();
      if (data === "[DONE]") return;
      const event = JSON.parse(data);
      if (event.error) throw new Error(event.error.message);
      yield event;
    }
  }
}

// Runs one thing at a time: a new one stops what runs. Errors are shown where the reader looks.
async function alone(work) {
  running?.abort();
  const own = (running = new AbortController());
  try {
    await work(own.signal);
  } catch (error) {
    if (!own.signal.aborted) say(error.message, true);
  }
  if (running === own) running = null;
}

// --- the editor

function draw() {
  const text = code.value;
  const at = ghost ? ghost.at : text.length;
  const proposed = ghost ? ghost.texts[ghost.shown] : "";
  const parts = [...pieces(text, 0, at), node("span", { className: "ghost", id: "ghost" }, proposed), ...pieces(text, at, text.length)];
  $("back").replaceChildren(...parts, "\n");
  const before = text.slice(0, at).split("\n").length;
  const all = text.split("\n").length;
  const numbers = Array.from({ length: all }, (_, index) => String(index + 1));
  numbers.splice(before, 0, ...Array(proposed.split("\n").length - 1).fill("+"));
  $("numbers").textContent = numbers.join("\n");
  for (const id of ["accept", "reject"]) $(id).hidden = !ghost;
  for (const id of ["previous", "next"]) $(id).hidden = !ghost || ghost.texts.length < 2;
}

// The text from `begin` to `end`, its scored tokens in colour.
function* pieces(text, begin, end) {
  let at = begin;
  for (const [index, cell] of cells.entries()) {
    const [from, to] = [Math.max(cell.start, at), Math.min(cell.end, end)];
    if (from >= to) continue;
    if (from > at) yield text.slice(at, from);
    const span = node("span", { className: `token level${level(cell.bits)}${index === seen ? " seen" : ""}` }, text.slice(from, to));
    span.dataset.cell = index;
    yield span;
    at = to;
  }
  if (at < end) yield text.slice(at, end);
}

const level = (bits) => LEVELS.findLastIndex(([least]) => (bits ?? 0) >= least);

// Puts a text at the cursor as if it was typed, so that undo takes it back.
export function type(text) {
  code.focus();
  // The one call that keeps the undo history; where a browser lacks it, the text is set without.
  if (!document.execCommand("insertText", false, text)) {
    code.setRangeText(text, code.selectionStart, code.selectionEnd, "end");
    edited();
  }
}

// An edit leaves the scores before it: a token's score depends on what precedes it. The last token may now go on.
function edited() {
  const text = code.value;
  let same = 0;
  while (same < Math.min(text.length, known.length) && text[same] === known[same]) same++;
  if (text !== known) {
    running?.abort();
    cells = cells.filter((cell) => cell.end < same);
    seen = -1;
    say("");
  }
  known = text;
  ghost = null;
  draw();
  report();
}

// --- completion

function settings() {
  const { temperature, top_p, max_tokens, n, seed, stop } = Object.fromEntries([...$("settings").querySelectorAll("[id]")].map((each) => [each.id, each.value]));
  const asked = { temperature: Number(temperature), top_p: Number(top_p), max_tokens: Number(max_tokens), n: Number(n) };
  // Without chance all alternatives are one.
  if (asked.temperature === 0) asked.n = 1;
  if (seed !== "") asked.seed = Number(seed);
  if (stop) asked.stop = [stop];
  return asked;
}

function complete() {
  if (!$("settings").reportValidity()) return;
  code.focus();
  const [at, asked] = [code.selectionStart, settings()];
  code.setSelectionRange(at, at);
  const [prompt, behind] = [code.value.slice(0, at), code.value.slice(at)];
  const fills = facts.can_fill && behind.trim() !== "";
  const why = behind.trim() !== "" && !facts.can_fill ? ` What is behind the cursor was left out: ${facts.why_not}` : "";
  return alone(async (signal) => {
    say(`Completing.${why}`);
    reject();
    const grown = { at, texts: Array(asked.n).fill(""), ended: Array(asked.n).fill(""), shown: 0 };
    const body = { model: facts.name, prompt, ...(fills && { suffix: behind }), ...asked, stream: true };
    for await (const event of events(await ask("v1/completions", body, signal))) {
      ghost ??= grown;
      for (const choice of event.choices) {
        grown.texts[choice.index] += choice.text;
        grown.ended[choice.index] ||= choice.finish_reason ?? "";
      }
      draw();
      reveal();
    }
    if (grown.texts.every((each) => each === "")) {
      reject();
      say(`The model ends here: its completion is empty.${why}`);
    } else announce(why);
  });
}

function announce(why = "") {
  const { texts, shown, ended } = ghost;
  const reason = ended[shown] === "length" ? ", as long as max tokens allow" : "";
  say(`Completion ${shown + 1} of ${texts.length}${fillsIn() ? ", in the middle" : ""}${reason}.${why}`);
  $("live").textContent = `Completion ${shown + 1} of ${texts.length}: ${texts[shown] || "empty"}`;
}

const fillsIn = () => facts.can_fill && code.value.slice(ghost.at).trim() !== "";

function accept() {
  const { at, texts, shown } = ghost;
  running?.abort();
  ghost = null;
  code.setSelectionRange(at, at);
  if (texts[shown]) type(texts[shown]);
  draw();
  say("Accepted.");
}

function reject() {
  ghost = null;
  draw();
}

function turn(by) {
  ghost.shown = (ghost.shown + by + ghost.texts.length) % ghost.texts.length;
  draw();
  reveal();
  announce();
}

// Scrolls to the completion: to all of it, or to its beginning where it is higher than the editor.
function reveal() {
  const [editor, { top, bottom }] = [$("editor"), $("ghost").getBoundingClientRect()];
  const above = editor.getBoundingClientRect().top + editor.clientTop;
  const hidden = Math.max(0, bottom - above - editor.clientHeight);
  editor.scrollTop += Math.min(hidden, top - above);
}

// --- surprisal

// Scores the document in windows that the model's context holds. All but the first begin with text that is scored already, half
// a window of it, so that a token always has so much before it; the last line of a window is left to the next one, which knows
// how its tokens go on.
function score() {
  return alone(async (signal) => {
    reject();
    const text = code.value;
    if (text === "") return say("There is nothing to score.");
    [cells, seen, note, known] = [[], -1, "", text];
    let size = facts.context ? MOST_CHARACTERS * facts.context : text.length;
    for (let [windows, end, least] = [0, 0, text.length]; end < text.length; ) {
      const done = cells.at(-1)?.end ?? 0;
      const begin = whole(text, Math.max(0, done - Math.floor(size / 2)));
      const until = Math.min(text.length, whole(text, begin + size));
      say(`Scoring: ${number(done)} of ${number(text.length)} characters.`);
      let found;
      try {
        found = await scored(text.slice(begin, until), begin, signal);
      } catch (error) {
        if (error.code !== "context_length_exceeded" || size <= LEAST_WINDOW) throw error;
        size = Math.floor(Math.min(size, text.length) / 2); // More tokens than the context holds.
        continue;
      }
      [windows, end] = [windows + 1, until];
      cells.push(...fresh(found, done, end < text.length ? text.lastIndexOf("\n", end - 1) : end));
      if (windows > 1) least = Math.min(least, done - begin);
      if (windows > 1) note = `Longer than the model's context of ${count(facts.context, "token")}: scored in ${windows} windows, with at least ${count(least, "character")} before each token from the second one on.`;
      size = Math.max(LEAST_WINDOW, Math.floor((FULL * facts.context * (until - begin)) / tokensOf(found)));
      draw();
      report();
    }
    say("Scored.");
    $("live").textContent = $("summary").textContent;
    look(cellAt(code.selectionStart));
  });
}

const tokensOf = (cells) => cells.reduce((sum, { tokens }) => sum + tokens.length, 0);

// The cells behind those that are scored already, up to a limit if there are any.
function fresh(found, done, limit) {
  const after = found.filter(({ start }) => start >= done);
  const within = after.filter(({ end }) => end <= limit);
  if (after.length === 0) throw new Error("A single token is longer than what the model can read at once.");
  return within.length ? within : after;
}

// An offset that is not inside a character.
const whole = (text, at) => (/[\udc00-\udfff]/.test(text[at] ?? "") ? at - 1 : at);

async function scored(text, begin, signal) {
  const body = { model: facts.name, prompt: text, echo: true, max_tokens: 0, logprobs: LIKELY, temperature: 0 };
  const [choice] = (await (await ask("v1/completions", body, signal)).json()).choices;
  const found = cellsOf(text, choice.logprobs, begin);
  // Numbers beside the wrong text would be worse than none.
  const wrong = found.some(({ start, end, tokens: [{ text: token }, ...others] }) => !others.length && !token.startsWith(BYTES) && token !== text.slice(start - begin, end - begin));
  if (choice.text !== text || wrong) throw new Error("The model's tokens do not spell this text, so it cannot be scored.");
  return found;
}

// Tokens with the text that they cover. A token that ends inside a character is put together with those that end it.
function cellsOf(text, { tokens, token_logprobs, top_logprobs, text_offset }, begin) {
  const places = [];
  let at = begin;
  for (const character of text) {
    places.push(at);
    at += character.length;
  }
  places.push(at);
  const made = [];
  let open = [];
  for (const [index, token] of tokens.entries()) {
    open.push({ text: token, logprob: token_logprobs[index], likely: likeliest(top_logprobs[index]) });
    const [start, end] = [made.at(-1)?.end ?? begin, places[text_offset[index + 1] ?? places.length - 1]];
    if (end <= start) continue;
    made.push({ start, end, tokens: open, bits: bitsOf(open) });
    open = [];
  }
  return made;
}

const likeliest = (table) => Object.entries(table ?? {}).sort(([, one], [, other]) => other - one).slice(0, LIKELY);
const bitsOf = (tokens) => (tokens.some(({ logprob }) => logprob === null) ? null : tokens.reduce((sum, { logprob }) => sum - logprob / Math.LN2, 0));

// The cell at a place; at the end of what is scored, the last one.
function cellAt(place) {
  const found = cells.findIndex((cell) => cell.start <= place && place < cell.end);
  return found < 0 && cells.at(-1)?.end === place ? cells.length - 1 : found;
}

function report() {
  const counted = cells.filter(({ bits }) => bits !== null);
  $("surprises").hidden = counted.length === 0;
  if (counted.length === 0) $("summary").textContent = cells.length ? "Nothing to score: the first token has nothing before it." : "Not scored yet.";
  else $("summary").replaceChildren(...sums(counted));
  $("lines").replaceChildren(...surprises(counted).map(lineButton));
  if (seen < 0) look(-1);
}

function sums(counted) {
  const bits = counted.reduce((sum, cell) => sum + cell.bits, 0);
  const size = counted.reduce((sum, cell) => sum + bytes(code.value.slice(cell.start, cell.end)), 0);
  const tokens = tokensOf(counted);
  const rest = cells.at(-1).end < code.value.length ? ` Line ${lineOf(cells.at(-1).end) + 1} and what follows are not scored.` : "";
  const value = node("strong", { id: "bits_per_byte" }, `${number(bits / size, 3)} bits a byte`);
  return [value, `: ${number(bits, 1)} bits for ${count(tokens, "token")}, ${count(size, "byte")}. The first token has nothing before it and is not counted.${rest} ${note}`];
}

const lineOf = (place) => code.value.slice(0, place).split("\n").length - 1;

// The lines that cost the most bits. A token belongs to the line that its last character is on.
function surprises(counted) {
  const lines = code.value.split("\n");
  const found = lines.map((text, line) => ({ text, line, bits: 0, size: 0 }));
  let [line, end] = [0, lines[0].length + 1];
  for (const cell of counted) {
    while (cell.end > end) end += lines[++line].length + 1;
    found[line].bits += cell.bits;
    found[line].size += bytes(code.value.slice(cell.start, cell.end));
  }
  return found.filter(({ bits }) => bits > 0).sort((one, other) => other.bits - one.bits).slice(0, MOST_LINES);
}

function lineButton({ text, line, bits, size }) {
  const told = `Line ${line + 1}: ${number(bits, 1)} bits, ${number(bits / size, 2)} a byte`;
  const button = node("button", { type: "button" }, told, node("code", {}, text.trim()));
  button.onclick = () => jump(line);
  return node("li", {}, button);
}

function jump(line) {
  const lines = code.value.split("\n");
  const start = lines.slice(0, line).join("\n").length + (line ? 1 : 0);
  code.focus();
  code.setSelectionRange(start, start + lines[line].length);
  $("editor").scrollTop = (code.scrollHeight / lines.length) * Math.max(0, line - 4);
  $("editor").scrollLeft = 0;
  $("editor").scrollIntoView({ block: "nearest" });
}

// Shows the numbers of a cell.
function look(index) {
  for (const span of $("back").querySelectorAll(".seen")) span.classList.remove("seen");
  seen = index;
  for (const span of $("back").querySelectorAll(`[data-cell="${index}"]`)) span.classList.add("seen");
  if (index < 0) $("token").replaceChildren(node("p", { className: "faint" }, "After scoring: the token at the cursor or under the pointer, and the five likeliest."));
  else $("token").replaceChildren(...cells[index].tokens.flatMap(tokenRows));
}

function tokenRows({ text, logprob, likely }) {
  const head = node("p", {}, node("code", {}, visible(text)));
  if (logprob === null) return [head, node("p", {}, "Nothing is before it: no score.")];
  head.append(` ${number(bitsOf([{ logprob }]), 2)} bits, ${percent(Math.exp(logprob))}`);
  const rows = likely.map(([other, value]) => {
    const cells = [node("td", {}, node("code", {}, visible(other)), other === text ? " ← this one" : ""), node("td", {}, percent(Math.exp(value)))];
    return node("tr", {}, ...cells);
  });
  const heads = node("tr", {}, node("th", { scope: "col" }, "Likeliest here"), node("th", { scope: "col" }, "Probability"));
  return [head, node("table", {}, heads, ...rows)];
}

// --- the model

async function load() {
  for (;;) {
    try {
      facts = await (await ask("facts")).json();
      break;
    } catch (error) {
      if (error.status !== 503) return say(error.message, true);
      say("The model is loading.");
      await new Promise((resolve) => setTimeout(resolve, 500));
    }
  }
  say("");
  document.title = `${facts.name}: codeparrot`;
  $("name").textContent = facts.name;
  $("n").max = facts.most_samples;
  $("max_tokens").max = facts.most_tokens;
  const rows = [["Run", facts.run], ["Step", facts.step], ["Tokens seen", facts.tokens], ["Parameters", facts.parameters], ["Vocabulary", facts.vocabulary]];
  rows.push(["Context", facts.context && count(facts.context, "token")], ["Fills in the middle", facts.can_fill ? "yes" : "no"]);
  for (const [name, value] of rows.filter(([, each]) => each !== null && each !== undefined)) {
    $("facts").append(node("dt", {}, name), node("dd", {}, typeof value === "number" ? number(value) : value));
  }
  $("curve").replaceChildren(...curve(facts.curve ?? []));
  if (facts.search) await import("./search.js").then((panel) => panel.show(facts.search), (error) => say(error.message, true));
}

// Loss over tokens. A step whose loss was not finite is a gap.
function curve(points) {
  const finite = points.filter(([, loss]) => loss !== null);
  if (finite.length < 2) return [];
  const [width, height, left, bottom] = [320, 150, 34, 20];
  const [losses, end] = [finite.map(([, loss]) => loss), finite.at(-1)[0]];
  const [low, high] = [Math.min(...losses), Math.max(...losses)];
  const x = (tokens) => left + ((width - left - 6) * tokens) / end;
  const y = (loss) => 8 + ((height - bottom - 8) * (high - loss)) / (high - low || 1);
  const told = `Training loss from ${number(losses[0], 2)} to ${number(losses.at(-1), 2)} nats over ${number(end)} tokens`;
  const picture = drawn("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": told });
  for (const loss of [low, (low + high) / 2, high]) {
    picture.append(drawn("line", { x1: left, x2: width, y1: y(loss), y2: y(loss) }));
    picture.append(drawn("text", { x: left - 4, y: y(loss) + 4, "text-anchor": "end" }, number(loss, 1)));
  }
  picture.append(drawn("text", { x: left, y: height - 5 }, "0"), drawn("text", { x: width, y: height - 5, "text-anchor": "end" }, `${number(end)} tokens`));
  let part = [];
  for (const [tokens, loss] of [...points, [end, null]]) {
    if (loss !== null) part.push(`${x(tokens).toFixed(1)},${y(loss).toFixed(1)}`);
    else if (part.length) picture.append(drawn("polyline", { points: part.join(" ") }));
    if (loss === null) part = [];
  }
  return [node("p", { className: "faint" }, `${told}.`), picture];
}

// --- keys and pointer

code.oninput = edited;
code.onkeydown = (event) => {
  const { ctrlKey, altKey, shiftKey, key: name, code: place } = event; // Brackets by their place: Alt changes what they write.
  const plain = !ctrlKey && !altKey && !event.metaKey && !event.isComposing;
  const does =
    ctrlKey && place === "Space" ? complete
    : ctrlKey && name === "Enter" ? score
    : plain && name === "Tab" && !shiftKey && ghost ? accept
    : plain && name === "Escape" && (ghost || running) ? stop
    : altKey && place === "BracketRight" && ghost ? () => turn(1)
    : altKey && place === "BracketLeft" && ghost ? () => turn(-1)
    : plain && name === "Enter" ? newline
    : null;
  if (!does) return;
  event.preventDefault();
  does();
};

function stop() {
  const said = running ? "Stopped." : "Rejected.";
  running?.abort();
  reject();
  say(said);
}

function newline() {
  const line = code.value.slice(0, code.selectionStart).split("\n").at(-1);
  type(`\n${/^[ \t]*/.exec(line)[0]}`);
}

document.addEventListener("selectionchange", () => {
  if (document.activeElement !== code) return;
  if (ghost && (code.selectionStart !== ghost.at || code.selectionEnd !== ghost.at)) stop();
  if (cells.length) look(cellAt(code.selectionStart));
});
code.onpointermove = ({ clientX, clientY }) => {
  const under = document.elementsFromPoint(clientX, clientY).find((each) => each.dataset?.cell);
  if (under && Number(under.dataset.cell) !== seen) look(Number(under.dataset.cell));
};
for (const [id, does] of Object.entries({ complete, score, accept, reject: stop, previous: () => turn(-1), next: () => turn(1) })) $(id).onclick = does;

for (const [index, [, text]] of LEVELS.entries()) $("legend").append(node("li", { className: `level${index}` }, text));
code.setSelectionRange(code.value.length, code.value.length);
draw();
load();
