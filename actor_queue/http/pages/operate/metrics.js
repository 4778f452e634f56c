// Prometheus' text, read as far as the pages need it.

const SAMPLE = /^([a-zA-Z_:][\w:]*)(\{[^}]*\})? (\S+)/;

/** `sum(name, label?)`: all samples of that name, those with `label="value"` in them if given. */
export function readMetrics(text) {
  const samples = [];
  for (const line of text.split("\n")) {
    const [, name, labels = "", value] = line.match(SAMPLE) ?? [];
    if (name !== undefined) samples.push({ name, labels, value: Number(value) });
  }
  return {
    sum(name, label = "") {
      const found = samples.filter((sample) => sample.name === name && sample.labels.includes(label));
      return found.length === 0 ? null : found.reduce((sum, sample) => sum + sample.value, 0);
    },
  };
}
