// A plot that moves: uPlot, loaded when a page first wants one, in the page's own colours.

import { ROOT } from "../api.js";
import { el } from "../dom.js";
import { clockText } from "./time.js";
import { t } from "./words.js";

const HEIGHT = 180;

let loading = null;

function loaded() {
  loading ??= new Promise((resolve, reject) => {
    const style = el("link", { rel: "stylesheet", href: `${ROOT}static/vendor/uPlot.min.css` });
    const script = el("script", { src: `${ROOT}static/vendor/uPlot.iife.min.js` });
    script.addEventListener("load", () => resolve(window.uPlot));
    script.addEventListener("error", () => reject(new Error("uPlot could not be loaded")));
    document.head.append(style, script);
  });
  return loading;
}

export class Plot {
  #plot = null;
  #series;
  #points;
  #data = null;
  #resized = new ResizeObserver(() => this.#plot?.setSize({ width: this.#width(), height: HEIGHT }));

  /** `series` is a list of `{label, colour}`, colours being names of the page's; `points`: no line. */
  constructor(label, series, { points = false } = {}) {
    this.#series = series;
    this.#points = points;
    this.node = el("div", { class: "plot", role: "img", "aria-label": label });
    this.#resized.observe(this.node);
  }

  /** `data` as uPlot takes it: seconds first, then each series. */
  async show(data) {
    this.#data = data;
    if (this.#plot !== null) return this.#plot.setData(data);
    const uPlot = await loaded();
    if (this.#plot === null && this.node.isConnected) this.#make(uPlot);
  }

  /** Colours are read when a plot is made, so another theme makes it anew. */
  redraw() {
    if (this.#plot === null) return;
    this.#plot.destroy();
    this.#make(window.uPlot);
  }

  close() {
    this.#resized.disconnect();
    this.#plot?.destroy();
    this.#plot = null;
  }

  #make(uPlot) {
    const colour = (name) => coloured(`--${name}`);
    const axis = { stroke: colour("muted"), grid: { stroke: colour("line"), width: 1 }, ticks: { stroke: colour("line"), width: 1 }, font: "12px system-ui" };
    const line = ({ label, colour: name }) => ({
      label,
      stroke: colour(name),
      width: 2,
      paths: this.#points ? () => null : undefined,
      points: { show: this.#points, size: 5, fill: colour(name) },
    });
    const options = {
      width: this.#width(),
      height: HEIGHT,
      cursor: { drag: { x: false, y: false } },
      scales: { y: { range: (_, low, high) => [Math.min(0, low ?? 0), Math.max(1, (high ?? 1) * 1.1)] } },
      axes: [{ ...axis, space: 70, values: (_, places) => places.map((s) => clockText(s * 1000)) }, { ...axis, size: 52 }],
      series: [{ label: t("plot.time"), value: (_, s) => (s === null ? "–" : clockText(s * 1000)) }, ...this.#series.map(line)],
    };
    this.#plot = new uPlot(options, this.#data, this.node);
  }

  #width() {
    return Math.max(200, this.node.clientWidth);
  }
}

/** What a custom property is worth now: `light-dark()` is resolved only in a real property. */
function coloured(property) {
  const probe = el("span");
  probe.style.color = `var(${property})`;
  document.body.append(probe);
  const { color } = getComputedStyle(probe);
  probe.remove();
  return color;
}
