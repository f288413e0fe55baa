// Keeps one region of a page fresh. The server renders; this only fetches, swaps and speaks.
//   <div data-live="/x.json" data-every="1000"> region </div>     answer: {html, spoken: {key: words}}
//   <template data-lost> what the region shows when the server no longer answers </template>
//   <p data-spoken aria-live="polite"></p>
const region = document.querySelector("[data-live]");
const lost = document.querySelector("template[data-lost]");
const voice = document.querySelector("[data-spoken]");
const every = Number(region.dataset.every);
const patience = 2; // missed answers in a row before the old state is no longer shown

let shown = null;
let spoken = null;
let missed = 0;

async function ask() {
  const answer = await fetch(region.dataset.live, { signal: AbortSignal.timeout(every * 3), cache: "no-store" });
  if (!answer.ok) throw new Error(String(answer.status));
  return answer.json();
}

function show(html) {
  if (html === shown) return;
  shown = html;
  region.innerHTML = html;
}

function speak(now) {
  if (spoken !== null) {
    const news = Object.keys(now).filter((key) => now[key] !== spoken[key]).map((key) => now[key]);
    if (news.length > 0) voice.textContent = news.join(" ");
  }
  spoken = now;
}

async function round() {
  // A page that nobody sees asks nothing; it is fresh again at once when it is looked at.
  if (document.hidden) return;
  try {
    const answer = await ask();
    missed = 0;
    if (!region.contains(document.activeElement)) show(answer.html);
    if (voice) speak(answer.spoken);
  } catch {
    missed += 1;
    if (missed >= patience && lost && shown !== "") {
      shown = "";
      region.replaceChildren(lost.content.cloneNode(true));
      if (voice) voice.textContent = region.textContent;
    }
  }
}

async function run() {
  await round();
  setTimeout(run, every);
}

document.addEventListener("visibilitychange", () => { if (!document.hidden) round(); });
setTimeout(run, every);
