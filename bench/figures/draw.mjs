/**
 * The measured figures as SVG, through vega-lite. The pictures follow the paper's: time or size to
 * the right, and up what was produced, delivered, or waited for.
 */

import { parse, View } from 'vega';
import { compile } from 'vega-lite';

const MiB = 2 ** 20;
const SIZE = { width: 560, height: 320 };
const MODELS = {
  domain: ['streaming', 'staging', 'kangaroo'],
  range: ['#7a7a7a', '#d08000', '#1f5fa8'],
};

/** Figure 9. @returns {Promise<string>} SVG */
export async function drawFailures({ events, samples }) {
  const values = samples.flatMap(({ seconds, produced, delivered }) => [
    { seconds, line: 'produced', mebibytes: produced / MiB },
    { seconds, line: 'delivered', mebibytes: delivered / MiB },
  ]);
  const x = { field: 'seconds', type: 'quantitative', title: 'time (s)' };
  const lines = {
    data: { values },
    mark: { type: 'line', interpolate: 'step-after' },
    encoding: {
      x,
      y: { field: 'mebibytes', type: 'quantitative', title: 'data (MiB)' },
      color: {
        field: 'line',
        title: null,
        scale: { domain: ['produced', 'delivered'], range: ['#d08000', '#1f5fa8'] },
      },
      strokeWidth: {
        field: 'line',
        type: 'ordinal',
        sort: ['produced', 'delivered'],
        legend: null,
        scale: { domain: ['produced', 'delivered'], range: [1.5, 3] },
      },
    },
  };
  const marks = [
    { mark: { type: 'rule', strokeDash: [3, 3], color: '#999999' }, encoding: { x } },
    {
      mark: { type: 'text', angle: 270, align: 'left', baseline: 'bottom', dx: 4, dy: -2 },
      encoding: { x, y: { value: SIZE.height }, text: { field: 'what' } },
    },
  ].map((layer) => ({ data: { values: events }, ...layer }));
  return await svgOf({ title: 'Response to failures', layer: [...marks, lines] });
}

/** Figure 10 with `responseSeconds`, 11 with `turnaroundSeconds`. @returns {Promise<string>} SVG */
export async function drawBursts({ rows }, field, title) {
  const sizes = [...new Set(rows.map(({ sizeMiB }) => sizeMiB))];
  return await svgOf({
    title,
    data: { values: rows },
    mark: { type: 'line', point: true },
    encoding: {
      x: {
        field: 'sizeMiB',
        type: 'quantitative',
        title: 'size of the burst (MiB)',
        scale: { type: 'log', base: 2 },
        axis: { values: sizes },
      },
      y: {
        field,
        type: 'quantitative',
        title: 'time (s)',
        scale: { type: 'log' },
      },
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
