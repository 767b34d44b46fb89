// Draws the picture while it arrives, reads the blocks at the chosen speed, and asks
// the server all the while how many blocks it was asked for.

const MIB = 2 ** 20;
const BLOCK = 65536;
const HEADER = 54; // of a BMP file
const TICK = 250; // milliseconds between two questions
const SHOWN = 120; // ticks in the chart

const visitor = Math.random().toString(36).slice(2);
const element = (id) => document.getElementById(id);
const show = (id, text) => {
  if (element(id).textContent !== text) element(id).textContent = text;
};
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

document.documentElement.classList.add("script");

// --- the picture ---

const canvas = element("picture");
const context = canvas.getContext("2d");
let drawing = null;

async function draw() {
  drawing?.abort();
  const mine = new AbortController();
  drawing = mine;
  context.clearRect(0, 0, canvas.width, canvas.height);
  element("leave").disabled = false;
  show("picture-state", "Drawing.");
  try {
    await drawRows(await fetch(`picture.bmp?${visitor}-picture`, mine));
    show("picture-state", "Complete.");
  } catch (error) {
    if (drawing !== mine) return; // drawn again
    const rows = element("drawn").value;
    show("picture-state", mine.signal.aborted ? `Left at row ${rows}.` : `${error}`);
  }
  element("leave").disabled = true;
}

async function drawRows(response) {
  if (!response.ok) throw new Error(`The server said ${response.status}.`);
  const { width, height } = canvas;
  const row = context.createImageData(width, 1);
  const bytes = new Uint8Array(HEADER + width * height * 3);
  const reader = response.body.getReader();
  let arrived = 0;
  let drawn = 0;
  for (;;) {
    const { done, value } = await reader.read();
    if (done) break;
    bytes.set(value, arrived);
    arrived += value.length;
    for (; HEADER + (drawn + 1) * width * 3 <= arrived; drawn++) {
      const start = HEADER + drawn * width * 3;
      for (let x = 0; x < width; x++) {
        const [blue, green, red] = bytes.subarray(start + x * 3, start + x * 3 + 3);
        row.data.set([red, green, blue, 255], x * 4);
      }
      context.putImageData(row, 0, drawn);
    }
    element("drawn").value = drawn;
  }
}

// --- the blocks ---

const speed = element("speed");
const chart = [];
let reading = null;
let taken = 0;
let made = 0;

async function read() {
  reading?.abort();
  if (reading) {
    reading = null;
    return;
  }
  const mine = new AbortController();
  reading = mine;
  taken = made = chart.length = 0;
  show("read", "Stop");
  show("blocks-state", "Reading.");
  try {
    await takeBlocks(await fetch(`blocks?${visitor}-blocks`, mine));
    show("blocks-state", "Complete.");
  } catch (error) {
    show("blocks-state", mine.signal.aborted ? "Stopped." : `${error}`);
  }
  if (reading === mine) reading = null;
  if (!reading) show("read", "Start");
}

async function takeBlocks(response) {
  if (!response.ok) throw new Error(`The server said ${response.status}.`);
  const reader = response.body.getReader();
  let allowed = 0;
  let before = performance.now();
  for (;;) {
    const now = performance.now();
    const more = (speed.value * MIB * (now - before)) / 1000;
    allowed = Math.min(allowed + more, MIB);
    before = now;
    if (allowed <= 0) {
      await sleep(20);
      continue;
    }
    const { done, value } = await reader.read();
    if (done) return;
    taken += value.length;
    allowed -= value.length;
  }
}

function setSpeed(value) {
  if (value > 0) speed.dataset.before = value;
  speed.value = value;
  show("speed-value", value > 0 ? `${value} MiB/s` : "paused");
  show("pause", value > 0 ? "Pause" : "Go on");
}

function drawChart() {
  chart.push([made, taken]);
  if (chart.length > SHOWN) chart.shift();
  const low = Math.min(...chart.map(([, read]) => read));
  const high = Math.max(low + 8 * MIB, ...chart.flat());
  ["made-line", "read-line"].forEach((id, which) => {
    const points = chart.map((amounts, tick) => {
      const y = 290 - (280 * (amounts[which] - low)) / (high - low);
      return `${(720 * tick) / (SHOWN - 1)},${y.toFixed(1)}`;
    });
    element(id).setAttribute("points", points.join(" "));
  });
}

// --- the server, meanwhile ---

async function watch() {
  const times = [];
  for (let answered = 1; ; answered++) {
    const asked = performance.now();
    try {
      const streams = await (await fetch("streams")).json();
      times.push(performance.now() - asked);
      if (times.length > 8) times.shift();
      const average = times.reduce((sum, time) => sum + time) / times.length;
      show("latency", average.toFixed(0));
      show("answered", String(answered));
      show("open", String(Object.keys(streams).length));
      // A stream that is over is listed no more; its last number stays on the page.
      const blocks = streams[`${visitor}-blocks`];
      made = Math.max(taken, blocks === undefined ? made : blocks * BLOCK);
    } catch {
      show("latency", "no answer");
    }
    if (reading) drawChart();
    show("made", (made / MIB).toFixed(1));
    show("taken", (taken / MIB).toFixed(1));
    show("between", ((made - taken) / MIB).toFixed(1));
    await sleep(TICK);
  }
}

element("draw").addEventListener("click", draw);
element("leave").addEventListener("click", () => drawing?.abort());
element("read").addEventListener("click", read);
element("pause").addEventListener("click", () => {
  setSpeed(Number(speed.value) > 0 ? 0 : Number(speed.dataset.before));
});
speed.addEventListener("input", () => setSpeed(Number(speed.value)));
setSpeed(Number(speed.value));
draw();
watch();
