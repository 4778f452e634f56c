// Cluster: which replicas there are, who owns what, what moved, and how late batches leave.

import { call, callText } from "../api.js";
import { serverNow } from "../clock.js";
import { el } from "../dom.js";
import { Refresher, onEvent } from "./live.js";
import { readMetrics } from "./metrics.js";
import { Panel } from "./panel.js";
import { Plot } from "./plot.js";
import { lasting, moment, took } from "./time.js";
import { t } from "./words.js";

const EVERY_MS = 5_000;
const MOVES_MAX = 50;
const SAMPLES_MAX = 180;
const FIRED_MAX = 600;
const SILENT_S = 3;
const RATES = { accepted: "actor_queue_accepted_total", delivered: "actor_queue_delivered_messages_total", failed: "actor_queue_failed_total" };

export function open() {
  const replicas = new Panel(t("cluster.replicas"));
  const shards = new Panel(t("cluster.shards"));
  const moves = new Panel(t("cluster.moves"));
  const flow = new Panel(t("cluster.flow"));
  const late = new Panel(t("cluster.late"));
  const redis = new Panel(t("cluster.redis"));
  const rates = new Plot(t("cluster.flow"), [
    { label: t("rate.accepted"), colour: "calm" },
    { label: t("rate.delivered"), colour: "accent" },
    { label: t("rate.failed"), colour: "bad" },
  ]);
  const lateness = new Plot(t("cluster.late"), [{ label: "ms", colour: "accent" }], { points: true });
  flow.body.append(rates.node, el("p", { class: "muted small" }, t("cluster.flow-text")));
  const nothingYet = el("p", { class: "hollow" }, t("cluster.nothing-yet"));
  late.body.append(nothingYet, lateness.node, el("p", { class: "muted small" }, t("cluster.late-text")));
  const seen = { moves: [], samples: [], fired: [] };

  async function load() {
    await Promise.all([
      replicas.fill(async () => {
        const answer = await call("GET", "api/shards");
        replicas.body.replaceChildren(replicaList(answer.replicas));
        shards.body.replaceChildren(shardMap(answer), shardTable(answer.shards));
      }),
      flow.fill(async () => {
        const metrics = readMetrics(await callText("GET", "metrics"));
        sample(seen.samples, metrics);
        redis.body.replaceChildren(redisFacts(metrics));
        if (seen.samples.length > 2) await rates.show(perSecond(seen.samples));
      }),
    ]);
    nothingYet.hidden = seen.fired.length > 0;
    if (seen.fired.length > 0) await lateness.show([seen.fired.map(({ at }) => at / 1000), seen.fired.map(({ ms }) => ms)]);
    drawMoves();
  }

  function drawMoves() {
    const rows = seen.moves.map(({ at, shard, owner }) => el("li", {}, moment(at), " ", owner === null ? t("cluster.freed", { shard }) : t("cluster.moved", { shard, owner })));
    moves.body.replaceChildren(rows.length === 0 ? el("p", { class: "hollow" }, t("cluster.no-moves")) : el("ol", { class: "plain" }, ...rows));
  }

  const refresher = new Refresher(load, EVERY_MS);
  const stop = onEvent((name, data) => {
    if (name === "moved") {
      seen.moves = [{ at: serverNow(), ...data }, ...seen.moves].slice(0, MOVES_MAX);
      refresher.soon();
    }
    if (name !== "fired" || (data.attempt ?? 1) !== 1 || data.late_ms === undefined) return;
    seen.fired = [...seen.fired, { at: serverNow(), ms: data.late_ms }].slice(-FIRED_MAX);
    if (seen.fired.length === 1) refresher.soon();
  });
  refresher.now();
  return {
    node: el("div", { class: "view two" }, el("h1", {}, t("page.cluster")), replicas.node, redis.node, flow.node, late.node, shards.node, moves.node),
    refresh: () => refresher.now(),
    redraw: () => { rates.redraw(); lateness.redraw(); refresher.now(); },
    close: () => { stop(); refresher.close(); rates.close(); lateness.close(); },
  };
}

function replicaList(replicas) {
  if (replicas.length === 0) return el("p", { class: "fault" }, t("cluster.nobody"));
  const line = (replica) =>
    el("li", {}, el("code", {}, replica.id), el("span", { class: "chip", data: { tone: replica.seen_ago > SILENT_S ? "bad" : "good" } }, t("cluster.seen", { duration: lasting(replica.seen_ago) })), el("span", { class: "muted" }, t("cluster.owns", { n: replica.shards })));
  return el("ul", { class: "plain replicas" }, ...replicas.map(line));
}

const COLOURS = 6;

/** One square per shard, coloured by its owner; an empty one has none. */
function shardMap({ replicas, shards }) {
  const place = new Map(replicas.map((replica, i) => [replica.id, i % COLOURS]));
  const square = (shard) =>
    el("li", { class: "shard", title: `${shard.shard}: ${shard.owner ?? t("cluster.free")}`, data: { owner: shard.owner === null ? "none" : String(place.get(shard.owner) ?? COLOURS - 1), busy: shard.waiting > 0 ? "yes" : "no" } }, String(shard.shard));
  return el("ul", { class: "shard-map", "aria-hidden": "true" }, ...shards.map(square));
}

function shardTable(shards) {
  const head = ["shard", "owner", "epoch", "since", "waiting"].map((name) => el("th", { scope: "col" }, t(`shard.${name}`)));
  const row = (shard) => el("tr", {}, el("td", {}, String(shard.shard)), el("td", {}, el("code", {}, shard.owner ?? t("cluster.free"))), el("td", {}, String(shard.epoch)), el("td", {}, shard.since ? moment(shard.since) : ""), el("td", {}, String(shard.waiting)));
  const table = el("table", {}, el("thead", {}, el("tr", {}, ...head)), el("tbody", {}, ...shards.map(row)));
  return el("details", {}, el("summary", {}, t("cluster.table")), el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": t("cluster.shards") }, table));
}

function sample(samples, metrics) {
  const values = Object.values(RATES).map((name) => metrics.sum(name));
  samples.push({ at: serverNow() / 1000, values });
  if (samples.length > SAMPLES_MAX) samples.shift();
}

/** Seconds, then what each counter rose by per second. A counter that fell began anew. */
function perSecond(samples) {
  const rates = samples.slice(1).map((now, i) => {
    const before = samples[i];
    return now.values.map((value, k) => (value === null || before.values[k] === null ? null : Math.max(0, value - before.values[k]) / (now.at - before.at)));
  });
  return [samples.slice(1).map(({ at }) => at), ...Object.keys(RATES).map((_, k) => rates.map((each) => each[k]))];
}

const shortly = (ms) => (ms > 0 && ms < 10 ? `${ms.toFixed(2)} ms` : took(ms));

function redisFacts(metrics) {
  const bytes = (name) => metrics.sum(`actor_queue_redis_memory_${name}_bytes`);
  const mib = (value) => (value === null ? "?" : `${(value / 1024 / 1024).toFixed(1)} MiB`);
  const facts = [["used", bytes("used")], ["left", bytes("left")], ["reserve", bytes("reserve")]];
  const mean = (name) => (metrics.sum(`${name}_count`) ? metrics.sum(`${name}_sum`) / metrics.sum(`${name}_count`) : null);
  const times = [["trip", mean("actor_queue_redis_round_trip_seconds")], ["lag", mean("actor_queue_loop_lag_seconds")], ["oldest", metrics.sum("actor_queue_oldest_due_seconds")]];
  const known = facts.filter(([, value]) => value !== null);
  const lines = [...known.map(([name, value]) => [name, mib(value)]), ...times.filter(([, value]) => value !== null).map(([name, value]) => [name, shortly(value * 1000)])];
  if (lines.length === 0) return el("p", { class: "muted" }, t("redis.unknown"));
  return el("dl", { class: "facts" }, ...lines.flatMap(([name, value]) => [el("dt", {}, t(`redis.${name}`)), el("dd", {}, value)]));
}
