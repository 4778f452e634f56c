// Time to pixels with the idle parts pressed together: a gap between two moments that is much
// longer than the usual one takes no more room than a long usual one, and is marked as a break.

const USUAL_FACTOR = 4;
const CAP_MS_MIN = 2_000;
const SHARE_MIN = 0.004; // of the width, so that two moments a millisecond apart are two

/** `moments` in milliseconds, any order. `{x(at), breaks: [{x, ms}], ticks: [{x, at}], width}`. */
export function scaleOf(moments, width) {
  const sorted = [...new Set(moments)].sort((one, other) => one - other);
  if (sorted.length < 2) sorted.push((sorted[0] ?? 0) + 1_000);
  const gaps = sorted.slice(1).map((at, i) => at - sorted[i]);
  const cap = Math.max(CAP_MS_MIN, USUAL_FACTOR * median(gaps));
  const total = gaps.reduce((sum, gap) => sum + Math.min(gap, cap), 0);
  const least = total * SHARE_MIN;
  const shown = gaps.map((gap) => Math.max(least, Math.min(gap, cap)));
  const whole = shown.reduce((sum, part) => sum + part, 0);
  const places = [0];
  shown.forEach((part) => places.push(places.at(-1) + (part / whole) * width));

  const breaks = gaps.flatMap((gap, i) => (gap > cap ? [{ x: (places[i] + places[i + 1]) / 2, ms: gap }] : []));
  return { x: (at) => placed(at, sorted, places), breaks, ticks: ticksOf(sorted, places), width };
}

function placed(at, sorted, places) {
  if (at <= sorted[0]) return places[0];
  for (let i = 1; i < sorted.length; i += 1) {
    if (at > sorted[i]) continue;
    const part = (at - sorted[i - 1]) / (sorted[i] - sorted[i - 1]);
    return places[i - 1] + part * (places[i] - places[i - 1]);
  }
  return places.at(-1);
}

const TICK_PX = 92;

/** Moments that have room for their text. */
function ticksOf(sorted, places) {
  const ticks = [];
  sorted.forEach((at, i) => {
    if (ticks.length === 0 || places[i] - ticks.at(-1).x >= TICK_PX) ticks.push({ at, x: places[i] });
  });
  return ticks;
}

function median(numbers) {
  const sorted = [...numbers].sort((one, other) => one - other);
  return sorted[Math.floor(sorted.length / 2)] ?? 0;
}
