/**
 * The measured figures as SVG, through vega-lite. The pictures follow the paper's: time or size to
 * the right, and up what was produced, delivered, or waited for.
 */

import { parse, View } from 'vega';
import { compile } from 'vega-lite';

const MiB = 2 ** 20;
const SIZE = { width: 560, height: 320 };
const LINES = { domain: ['produced', 'delivered'], range: ['#d08000', '#1f5fa8'] };
const MODELS = {
  domain: ['streaming', 'staging', 'kangaroo'],
  range: ['#7a7a7a', '#d08000', '#1f5fa8'],
};

/** Figure 9. @returns {Promise<string>} SVG */
export async function drawFailures({ events, samples }) {
  const x = { field: 'seconds', type: 'quantitative', title: 'time (s)' };
  const lines = [
    { name: 'produced', strokeWidth: 1.5 },
    { name: 'delivered', strokeWidth: 3 },
  ].map(({ name, strokeWidth }) => ({
    data: {
      values: samples.map((sample) => ({ seconds: sample.seconds, mebibytes: sample[name] / MiB })),
    },
    mark: { type: 'line', interpolate: 'step-after', strokeWidth },
    encoding: {
      x,
      y: { field: 'mebibytes', type: 'quantitative', title: 'data (MiB)' },
      color: { datum: name, title: null, scale: LINES },
    },
  }));
  const rules = {
    data: { values: events },
    mark: { type: 'rule', strokeDash: [3, 3], color: '#999999' },
    encoding: { x },
  };
  // What happens to the server stands left of its line, the rest right of it and higher up.
  const isServers = ({ what }) => what.startsWith('destination');
  const labels = [
    { values: events.filter(isServers), baseline: 'bottom', dy: -2, y: SIZE.height - 4 },
    {
      values: events.filter((event) => !isServers(event)),
      ...{ baseline: 'top', dy: 3, y: SIZE.height / 2 },
    },
  ].map(({ values, baseline, dy, y }) => ({
    data: { values },
    mark: { type: 'text', angle: 270, align: 'left', baseline, dy },
    encoding: { x, y: { value: y }, text: { field: 'what' } },
  }));
  return await svgOf({ title: 'Response to failures', layer: [rules, ...labels, ...lines] });
}

/** Figure 10 with `responseSeconds`, 11 with `turnaroundSeconds`. @returns {Promise<string>} SVG */
export async function drawBursts({ rows }, field, title, scale) {
  return await svgOf({
    title,
    data: { values: rows },
    mark: { type: 'line', point: true },
    encoding: {
      x: { field: 'sizeMiB', type: 'quantitative', title: 'size of the burst (MiB)' },
      y: { field, type: 'quantitative', title: 'time (s)', scale: { type: scale } },
      color: { field: 'model', title: null, scale: MODELS },
      shape: { field: 'model', title: null, scale: { domain: MODELS.domain } },
    },
  });
}

async function svgOf(content) {
  const { spec } = compile({
    $schema: 'https://vega.github.io/schema/vega-lite/v6.json',
    background: 'white',
    ...SIZE,
    ...content,
  });
  return await new View(parse(spec), { renderer: 'none' }).toSVG();
}
