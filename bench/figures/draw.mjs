/**
 * The measured figures as SVG, through vega-lite. The pictures follow the paper's: time or size to
 * the right, and up what was produced, delivered, or waited for.
 */

import { parse, View } from 'vega';
import { compile } from 'vega-lite';
import { bandwidth } from './calls.mjs';

const MiB = 2 ** 20;
const SIZE = { width: 560, height: 320 };
const LINES = { domain: ['produced', 'delivered'], range: ['#d08000', '#1f5fa8'] };
const MODELS = {
  domain: ['streaming', 'staging', 'kangaroo'],
  range: ['#7a7a7a', '#d08000', '#1f5fa8'],
};
const BLOCK_AXIS = {
  values: [1, 64, 512, 8192, 65536, 1048576],
  labelExpr: `datum.value >= 1048576 ? datum.value / 1048576 + ' MiB'
    : datum.value >= 1024 ? datum.value / 1024 + ' KiB' : datum.value + ' B'`,
};
/** Of the ways to call, in the order they are measured. */
const WAYS = ['#7a7a7a', '#3a9a5a', '#1f5fa8', '#d08000'];

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
  const x = { field: 'sizeMiB', type: 'quantitative', title: 'size of the burst (MiB)' };
  return await svgOf({ title, ...linesOfModels(rows, x, field, scale) });
}

/** Figure 12 with `responseSeconds`, 13 with `turnaroundSeconds`; the dashes are its bound. */
export async function drawImages({ rows, checks }, field, title) {
  const scale = { type: 'log', domain: [0.1, 12], nice: false };
  const axis = { values: [0.1, 0.3, 1, 2, 5, 12], format: '~g' };
  const x = {
    ...{ field: 'megabytesPerSecond', type: 'quantitative', scale, axis },
    title: 'bandwidth to the destination (MB/s)',
  };
  const lines = linesOfModels(rows, x, field, 'linear');
  if (field === 'responseSeconds') return await svgOf({ title, ...lines });
  const pipeline = {
    data: { values: checks },
    mark: { type: 'line', strokeDash: [4, 4], strokeWidth: 1, color: '#000000' },
    encoding: { x, y: { field: 'pipelineSeconds', type: 'quantitative' } },
  };
  return await svgOf({ title, layer: [lines, pipeline] });
}

function linesOfModels(rows, x, field, scale) {
  return {
    data: { values: rows },
    mark: { type: 'line', point: true },
    encoding: {
      x,
      y: { field, type: 'quantitative', title: 'time (s)', scale: { type: scale } },
      color: { field: 'model', title: null, scale: MODELS },
      shape: { field: 'model', title: null, scale: { domain: MODELS.domain } },
    },
  };
}

/** Figure 4 of the Parrot paper: latencies, and bandwidth by block. Resolves with SVG. */
export async function drawCalls({ rows }) {
  const names = { getpid: 'getpid', stat: 'stat', open: 'open/close' };
  const values = rows.map(({ way, call, blockBytes, nanoseconds }) => ({
    ...{ way, call: names[call] ?? call, blockBytes },
    microseconds: nanoseconds.median / 1_000,
    speed: blockBytes === null ? null : bandwidth(nanoseconds.median, blockBytes),
  }));
  const ways = [...new Set(values.map(({ way }) => way))];
  const color = {
    ...{ field: 'way', title: null, scale: { domain: ways, range: WAYS } },
    legend: { labelLimit: 0 },
  };
  const latency = {
    ...{ title: 'Latency', width: 200, height: SIZE.height },
    data: { values: values.filter(({ blockBytes }) => blockBytes === null) },
    // A bar has no beginning on a logarithmic scale.
    mark: { type: 'point', filled: true, size: 70 },
    encoding: {
      x: {
        ...{ field: 'call', type: 'nominal', title: null, sort: Object.values(names) },
        axis: { labelAngle: 0 },
      },
      y: {
        ...{ field: 'microseconds', type: 'quantitative', scale: { type: 'log' } },
        title: 'a call (us)',
      },
      ...{ color, shape: { field: 'way', title: null, scale: { domain: ways } } },
    },
  };
  const panels = ['read', 'write'].map((call) => ({
    ...{ title: call === 'read' ? 'Reading' : 'Writing', width: 320, height: SIZE.height },
    data: { values: values.filter((value) => value.call === call) },
    mark: { type: 'line', point: true },
    encoding: {
      x: {
        ...{ field: 'blockBytes', type: 'quantitative', title: 'block' },
        ...{ scale: { type: 'log', base: 2 }, axis: BLOCK_AXIS },
      },
      y: { field: 'speed', type: 'quantitative', title: 'MB/s', scale: { type: 'log' } },
      ...{ color, shape: { field: 'way', title: null, scale: { domain: ways } } },
    },
  }));
  return await svgOf({ hconcat: [latency, ...panels] });
}

async function svgOf(content) {
  const { spec } = compile({
    $schema: 'https://vega.github.io/schema/vega-lite/v6.json',
    background: 'white',
    ...('hconcat' in content ? {} : SIZE),
    ...content,
  });
  return await new View(parse(spec), { renderer: 'none' }).toSVG();
}
