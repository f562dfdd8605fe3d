// Heatmap and curves as data, under Node: `node --test tests/ui/run_charts.test.mjs`.
import assert from 'node:assert/strict';
import {createRequire} from 'node:module';
import {test} from 'node:test';

const FOLDER = new URL('../../ddemo/ui/', import.meta.url);
const require = createRequire(import.meta.url);
const M = require(new URL('token_canvas/model.js', FOLDER).pathname);
const S = require(new URL('run_charts/series.js', FOLDER).pathname);

const MASK = 4;
const WORDS = {10: 'The', 11: ' sailor', 12: ' looked', 13: ' gazed', 14: ' out', 15: '.', 16: ' turned',
  17: '=SUM("a")', 18: [0xe2, 0x82], 19: [0xac]};
const HEAD = {mask: MASK, steps: 4, hmax: 8, id_bytes: 2, k: 2};

const base64 = (array) => Buffer.from(array.buffer, array.byteOffset, array.byteLength).toString('base64');
const near = (a, b, tolerance = 0.004) => assert.ok(Math.abs(a - b) <= tolerance, `${a} is not ${b}`);
const plain = (column) => Array.from(column, (x) => (Number.isNaN(x) ? null : Math.round(x * 100) / 100));

const segment = (tokens, more = {}) => ({step: 0, t: 1, tokens, fixed: [0, 1], forced: [], locked: [], ...more});
const open = (tokens = [10, 11, MASK, MASK, MASK], more = {}, head = {}) => (
  {k: 'open', run: 'a', n: 0, head: {...HEAD, ...head}, vocab: WORDS, segment: segment(tokens, more)});

// looks: [[entropy, [[id, p], [id, p]]], ...], one for each position asked, ascending
function frame(n, set, looks, more = {}) {
  const ids = Uint16Array.from(looks.flatMap(([, list]) => list.map(([id]) => id)));
  const p = Uint8Array.from(looks.flatMap(([, list]) => list.map(([, q]) => Math.round(255 * Math.sqrt(q)))));
  const h = Uint8Array.from(looks.map(([entropy]) => Math.round((255 * entropy) / HEAD.hmax)));
  return {k: 'frame', run: 'a', n, step: n, t: 1 - n / 4, nfe: n, set, at: null, h: base64(h), ids: base64(ids),
    p: base64(p), vocab: {}, fresh: true, ...more};
}

const END = {k: 'end', run: 'a', state: 'finished', say: '', seconds: 1};
const RUN = [
  open(),
  frame(1, [[3, 14, 0.6]], [[3, [[13, 0.5], [12, 0.25]]], [2, [[14, 0.6], [12, 0.1]]], [1, [[14, 0.8], [13, 0.05]]]]),
  frame(2, [[2, 12, 0.55], [3, MASK, null]], [[2.4, [[12, 0.55], [13, 0.3]]], [1.2, [[15, 0.92], [14, 0.04]]]]),
  frame(3, [[3, 14, 0.7]], [[2, [[14, 0.7], [16, 0.1]]], [0.8, [[15, 0.9], [14, 0.02]]]]),
  frame(4, [[4, 15, 0.95]], [[0.4, [[15, 0.95], [14, 0.02]]]]),
  {...END, n: 5},
];

function feed(messages) {
  let state = M.initial();
  for (const message of messages) {
    const result = M.receive(state, message);
    assert.equal(result.warning, '');
    assert.equal(result.fetch, null);
    state = result.state;
  }
  return M.runShown(state);
}

const columns = (run, quantity) => S.matrix(run, quantity).columns.map(plain);

test('the probability at writing is held until the token goes', () => {
  const nothing = [null, null, null, null, null];
  assert.deepEqual(columns(feed(RUN), 'written'), [
    nothing, [null, null, null, 0.6, null], [null, null, 0.55, null, null], [null, null, 0.55, 0.7, null],
    [null, null, 0.55, 0.7, 0.95],
  ]);
});

test('entropy and margin are absent, not zero, where nobody asked', () => {
  const run = feed(RUN), [start, first, second] = columns(run, 'entropy');
  assert.deepEqual(start, [null, null, null, null, null]);
  assert.deepEqual(first.slice(0, 2), [null, null]);
  first.slice(2).forEach((value, i) => near(value, [3, 2, 1][i], 0.03));
  near(second[2], 2.4, 0.03);
  assert.equal(second[3], null, 'it was written before this step');
  near(second[4], 1.2, 0.03);
  const margin = columns(run, 'margin');
  near(margin[1][2], 0.25, 0.01);
  near(margin[4][4], 0.93, 0.01);
  assert.equal(margin[4][2], null);
  const one = feed([open([10, 11, MASK], {}, {k: 1}), frame(1, [[2, 12, 0.5]], [[1, [[12, 0.5]]]]), {...END, n: 2}]);
  assert.deepEqual(columns(one, 'margin')[1], [null, null, null], 'one candidate has no second');
  assert.equal(S.describe(one, 1, 2, 'margin', 12).value, 'only one candidate was kept');
});

test('the final token: its probability, its rank, and what lies outside the candidates', () => {
  const run = feed(RUN), final = columns(run, 'final'), rank = columns(run, 'rank');
  assert.deepEqual(rank.slice(1), [
    [null, null, 2, 1, S.OUTSIDE], [null, null, 1, null, 1], [null, null, null, 1, 1], [null, null, null, null, 1],
  ]);
  near(final[1][2], 0.25, 0.01);
  assert.equal(final[1][4], S.OUTSIDE);
  near(final[2][4], 0.92, 0.01);
  const unfinished = feed(RUN.slice(0, 3));
  assert.deepEqual(columns(unfinished, 'rank')[1], [null, null, 2, null, null], 'masks have no final token yet');
});

test('shades lie on fixed scales', () => {
  near(S.shade('written', 0.25, 2), 0.25);
  near(S.shade('entropy', 4, 2), 0.5);
  assert.equal(S.shade('entropy', 99, 2), 1);
  assert.deepEqual([1, 3, 5].map((rank) => S.shade('rank', rank, {head: {k: 5}})), [1, 0.5, 0]);
  assert.equal(S.shade('rank', S.OUTSIDE, 5), S.OUTSIDE);
  assert.ok(Number.isNaN(S.shade('final', NaN, 5)));
});

test('marks name what a step wrote, masked again, rewrote', () => {
  const run = feed(RUN);
  assert.deepEqual(S.marksAt(run, 0), []);
  assert.deepEqual(S.marksAt(run, 1), [{at: 3, kind: 'commit'}]);
  assert.deepEqual(S.marksAt(run, 2), [{at: 2, kind: 'commit'}, {at: 3, kind: 'remask'}]);
  assert.deepEqual(S.order(run).map(({column, at, kind, stands}) => [column, at, kind, stands]), [
    [1, 3, 'commit', false], [2, 2, 'commit', true], [2, 3, 'remask', false], [3, 3, 'commit', true],
    [4, 4, 'commit', true],
  ]);
});

test('curves: gate, mean and entropy over the masks left, and absent when none is', () => {
  const run = feed(RUN), curves = S.curves(run);
  assert.equal(curves.masked, true);
  assert.deepEqual([...curves.step], [0, 1, 2, 3, 4]);
  assert.deepEqual([...curves.masks], [3, 2, 2, 1, 0]);
  assert.deepEqual(plain(curves.wrote), [null, 1, 1, 1, 1]);
  assert.deepEqual([...curves.nfe], [0, 1, 2, 3, 4]);
  near(curves.gate[1], 0.5, 0.01);
  near(curves.mean[1], 0.65, 0.01);
  near(curves.entropy[1], 2, 0.02);
  near(curves.gate[2], 0.92, 0.01); // position 3 was masked again by this step: nobody has looked since
  near(curves.mean[2], 0.92, 0.01);
  for (const name of ['gate', 'mean', 'entropy']) {
    assert.ok(Number.isNaN(curves[name][0]) && Number.isNaN(curves[name][4]), name);
  }
  const stats = run.stops.map(M.stats); // what the readout under the canvas says
  for (const name of ['gate', 'mean', 'masks', 'nfe', 'wrote']) {
    stats.forEach((s, i) => assert.ok(Object.is(s[name], curves[name][i]), `${name} at ${i}`));
  }
});

test('uniform noise has no masks: every free position has values at all steps', () => {
  const look = (a, b, p) => [1, [[a, p], [b, 0.1]]];
  const run = feed([
    open([10, 16, 16, 16], {fixed: [0]}, {noise: 'uniform', steps: 2}),
    frame(1, [[1, 11, 0.4]], [look(11, 16, 0.4), look(12, 16, 0.6), look(15, 14, 0.5)], {at: [1, 2, 3]}),
    frame(2, [[2, 12, 0.7], [1, 13, 0.5]], [look(11, 13, 0.8), look(12, 16, 0.7), look(15, 14, 0.9)],
      {at: [1, 2, 3]}),
    {...END, n: 3},
  ]);
  for (const quantity of ['entropy', 'margin', 'final', 'rank']) {
    const [start, ...rest] = columns(run, quantity);
    assert.deepEqual(start, [null, null, null, null]);
    for (const column of rest) assert.deepEqual(column.map((x) => x !== null), [false, true, true, true], quantity);
  }
  assert.deepEqual(columns(run, 'rank')[1], [null, S.OUTSIDE, 1, S.OUTSIDE]);
  assert.deepEqual(S.marksAt(run, 2), [{at: 1, kind: 'resample'}, {at: 2, kind: 'commit'}]);
  const curves = S.curves(run);
  assert.equal(curves.masked, false);
  assert.deepEqual(plain(curves.masks), [null, null, null]);
  near(curves.gate[1], 0.4, 0.01);
  near(curves.mean[2], 0.8, 0.01);
});

test('a run that moves latents tells how they lie, and no other run is asked', () => {
  const look = (a, b, p) => [1, [[a, p], [b, 0.1]]];
  const hundredths = (list) => base64(Uint16Array.from(list));
  const run = feed([
    open([10, 11, 16, 13], {}, {noise: 'gaussian', steps: 2}),
    frame(1, [[2, 12, 0.4]], [look(12, 16, 0.4), look(12, 16, 0.6)],
      {at: [2, 3], near: hundredths([412, 65535]), lead: hundredths([7, 150])}),
    {...END, n: 2},
  ]);
  assert.deepEqual(columns(run, 'near'), [[null, null, null, null], [null, null, 4.12, 655.35]]);
  assert.deepEqual(columns(run, 'lead')[1], [null, null, 0.07, 1.5]);
  assert.equal(S.shade('near', 655.35, run), 1);
  assert.equal(S.describe(run, 1, 2, 'near', 12).value, 'its latent lies 4.12 from this word');
  assert.equal(S.describe(run, 1, 3, 'lead', 13).value, 'the second nearest word is 1.50 farther than this one');
  assert.equal(S.describe(run, 1, 0, 'lead', 10).value, 'the model was not asked here');
  assert.deepEqual(['near', 'lead', 'margin'].map((name) => S.isOf(name, run)), [true, true, true]);
  assert.deepEqual(['near', 'lead', 'margin'].map((name) => S.isOf(name, feed(RUN))), [false, false, true]);
  assert.deepEqual(columns(feed(RUN), 'near')[1], [null, null, null, null, null]);
});

test('distances that are not one for each position are refused', () => {
  const short = frame(1, [], [[1, [[12, 0.5], [13, 0.1]]]], {at: [2], near: base64(Uint16Array.from([1, 2]))});
  const {warning} = M.receive(M.receive(M.initial(), open()).state, short);
  assert.match(warning, /not a distance for each position/);
});

test('a reused look shows what it showed; a step without a look shows nothing', () => {
  const run = feed([
    open(), frame(1, [], [[3, [[13, 0.5], [12, 0.25]]], [2, [[14, 0.6], [12, 0.1]]], [1, [[14, 0.8], [13, 0.05]]]]),
    {k: 'frame', run: 'a', n: 2, step: 2, t: 0.5, nfe: 1, set: [[2, 13, 0.5]], fresh: false},
    {k: 'frame', run: 'a', n: 3, step: 3, t: 0.2, nfe: 1, set: [], fresh: true},
  ]);
  const entropy = columns(run, 'entropy');
  assert.deepEqual(entropy[2], entropy[1]);
  assert.deepEqual(entropy[3], [null, null, null, null, null]);
  assert.deepEqual([...S.curves(run).nfe], [0, 1, 1, 1]);
});

test('an edit begins a part with its own positions, and the final tokens are found across it', () => {
  const edited = segment([10, 11, 12, MASK, MASK, 15], {step: 2});
  const run = feed([
    ...RUN.slice(0, 3), {k: 'segment', run: 'a', n: 3, segment: edited, vocab: {}},
    {...frame(4, [[3, 13, 0.5], [4, 14, 0.5]], [[1, [[13, 0.5], [12, 0.1]]], [1, [[14, 0.5], [12, 0.1]]]]), step: 3},
    {...END, n: 5},
  ]);
  assert.deepEqual(S.segments(run), [{part: 0, from: 0, to: 2, length: 5}, {part: 1, from: 3, to: 4, length: 6}]);
  assert.deepEqual(S.marksAt(run, 3), [], 'what the visitor did is not the run’s');
  const found = S.matrix(run, 'rank');
  assert.deepEqual(found.columns.map((column) => column.length), [5, 5, 5, 6, 6]);
  assert.equal(found.rows, 6);
  assert.deepEqual([...found.finals[0]], [10, 11, 12, 13, 14], 'positions before the added one are the same');
  assert.deepEqual([...found.finals[1]], [10, 11, 12, 13, 14, 15]);
  assert.deepEqual(S.stepTicks(run, 20).map(({column, step}) => [column, step]), [[0, 0], [1, 1], [2, 2], [4, 3]]);
});

test('positions are carried by what is alike at both ends, never twice', () => {
  assert.deepEqual([...S.carried([1, 2, 3], [1, 9, 3])], [0, 1, 2]);
  assert.deepEqual([...S.carried([1, 2, 3, 4], [1, 2, 9, 9, 9, 4])], [0, 1, -1, 5]);
  assert.deepEqual([...S.carried([7, 7, 7], [7, 7])], [0, 1, -1]);
  assert.deepEqual([...S.carried([5], [5, 5])], [0]);
});

test('ticks keep their columns while a run goes on', () => {
  const early = feed(RUN.slice(0, 2)), later = feed(RUN.slice(0, 4));
  assert.equal(early.status, 'running');
  assert.equal(S.plannedColumns(early), 5);
  assert.deepEqual(S.stepTicks(early, 5), S.stepTicks(later, 5));
  assert.deepEqual(S.stepTicks(early, 5), S.stepTicks(feed(RUN), 5));
  assert.deepEqual(S.stepTicks(early, 2).map(({step}) => step), [0, 2, 4]);
});

test('a cell is read out in words', () => {
  const run = feed(RUN);
  const say = (...cell) => Object.values(S.describe(run, ...cell)).join(' | ');
  assert.equal(say(1, 3, 'written', 14), 'token 4 · step 1 | “out”, written here | probability .60');
  assert.equal(say(4, 2, 'written', 12), 'token 3 · step 4 | “looked”, written at step 2 | probability .55');
  assert.equal(say(1, 2, 'written', 12), 'token 3 · step 1 | mask | not written yet');
  assert.equal(say(2, 3, 'entropy', 14), 'token 4 · step 2 | masked again | the model was not asked here');
  assert.match(say(1, 2, 'entropy', 12), /mask \| entropy 3\.0\d nats, best guess “gazed” \.50$/);
  assert.match(say(1, 2, 'final', 12), /in the end “looked”: probability \.25, rank 2$/);
  assert.match(say(1, 4, 'rank', 15), /in the end “\.”: none of the 2 candidates kept$/);
  assert.match(say(1, 2, 'margin', 12), /\.25 between “gazed” \.50 and “looked” \.25$/);
  const given = 'token 1 · step 0 | “The”, given | no probability: the run did not write it';
  assert.equal(say(0, 0, 'written', 10), given);
});

test('texts of later stops do not come from earlier ones, and split characters are given once', () => {
  const run = feed(RUN);
  assert.deepEqual(run.stops.map((stop) => S.texts(run, stop)[2]), ['', '', ' looked', ' looked', ' looked']);
  const euro = feed([open([18, 19, MASK], {fixed: [0, 1]})]);
  assert.deepEqual(S.texts(euro, euro.stops[0]), ['part of €', '€', '']);
});

test('tables: only cells that say something, formulas made harmless, quotes doubled', () => {
  const lines = S.matrixCsv(feed(RUN), 'rank').split('\r\n');
  assert.equal(lines[0], 'segment,step,position,token,text,rank,event');
  assert.deepEqual(lines.slice(1, 4), ['0,1,3,12, looked,2,', '0,1,4,14, out,1,commit', '0,1,5,15,.,> 2,']);
  assert.equal(lines[lines.length - 1], '');
  assert.ok(lines.includes('0,2,4,14, out,,remask'), 'a mark without a value keeps its line');
  const odd = feed([open([10, 11, MASK]), frame(1, [[2, 17, 0.5]], [[1, [[17, 0.5], [12, 0.1]]]]), {...END, n: 2}]);
  assert.match(S.matrixCsv(odd, 'written'), /0,1,3,17,"'=SUM\(""a""\)",0\.5,commit\r\n/);
  const curves = S.curvesCsv(feed(RUN)).split('\r\n');
  assert.equal(curves[0], 'segment,step,gate,mean,entropy,masks,wrote,nfe');
  assert.equal(curves[1], '0,0,,,,3,,0');
  assert.equal(curves.length, 7);
});
// ---------------------------------------------------------------- what was worked out afterwards

const u2 = (list) => base64(Uint16Array.from(list));
const sqrt16 = (list) => u2(list.map((p) => Math.round(65535 * Math.sqrt(p))));
const f4 = (list) => base64(Float32Array.from(list));
// RUN asks 3, 2 (the mask and the one masked again), 2 and 1 positions: see the looks above.
const EXACT = {steps: 4, bytes: 2, p: sqrt16([0.25, 0.6, 0.031, 0.55, 0.92, 0.7, 0.9, 0.95]),
  rank: u2([2, 1, 137, 1, 1, 1, 1, 1])};
const SCORES = {k: 'scores', run: 'a', n: 6, final: EXACT};
const withSize = [open(undefined, {}, {vocab_size: 1000}), ...RUN.slice(1)];

test('exact values leave nothing outside the candidates, on a scale that goes on to the vocabulary', () => {
  const run = feed([...withSize, SCORES]), ranks = columns(run, 'rank');
  assert.equal(ranks[1][4], 137);
  assert.ok(!ranks.flat().includes(S.OUTSIDE));
  near(columns(run, 'final')[1][4], 0.03, 0.001);
  assert.equal(S.lastRank(run), 1000);
  assert.deepEqual([1, 1000, 5000].map((rank) => S.shade('rank', rank, run)), [1, 0, 0]);
  near(S.shade('rank', Math.sqrt(1000), run), 0.5);
  const words = S.describe(run, 1, 4, 'rank', 15).value;
  assert.equal(words, 'in the end “.”: probability .031, rank 137');
  assert.match(S.matrixCsv(run, 'rank'), /,137,/);
  assert.doesNotMatch(S.matrixCsv(run, 'rank'), /> 2/);
});

test('what the second look did not come to stays outside', () => {
  const part = {...SCORES, final: {steps: 0, bytes: 2, p: '', rank: ''}};
  const run = feed([...withSize, part]);
  assert.equal(columns(run, 'rank')[1][4], S.OUTSIDE);
  assert.equal(S.valueAt(run, run.stops[1], 2, 'rank', 12), 2, 'a candidate that was kept has its place');
});

test('an exact value is of the token at the end of its segment, and of no other', () => {
  const run = feed([...withSize, SCORES]), {look} = run.stops[1];
  assert.equal(S.exactAt(run, run.stops[1], 4, look.where[4], 15).rank, 137);
  assert.equal(S.exactAt(run, run.stops[1], 4, look.where[4], 14), null);
  assert.equal(S.exactAt(run, run.stops[1], 1, -1, 11), null);
});

const PAIRS = [open(undefined, {}, {vocab_size: 1000}),
  frame(1, [[2, 12, 0.5], [3, 14, 0.6]],
    [[3, [[12, 0.5], [13, 0.2]]], [2, [[14, 0.6], [12, 0.1]]], [1, [[14, 0.8], [13, 0.05]]]]),
  frame(2, [[4, 15, 0.95]], [[0.4, [[15, 0.95], [14, 0.02]]]]),
  {...END, n: 3},
  {k: 'scores', run: 'a', n: 4, hazard: {steps: 2, p: f4([0.2, 0.6, 0.95]), was: f4([0.5, 0.6, 0.95])}}];

test('clashes are counted by how many tokens were committed together', () => {
  const run = feed(PAIRS);
  assert.deepEqual(S.clashCounts(run, 0.5), [
    {together: 1, commits: 1, clashing: 0, steps: 1}, {together: 2, commits: 2, clashing: 1, steps: 1},
  ]);
  assert.equal(S.clashCounts(run, 0.25)[1].clashing, 0);
  assert.deepEqual(S.clashCsv(run, 0.5).split('\r\n').slice(0, 3), [
    'together,steps,commits,clashing,share_clashing,keeps_less_than', '1,1,1,0,0,0.5', '2,1,2,1,0.5,0.5',
  ]);
  assert.match(S.clashNote(0.5), /less than half of its probability/);
});

test('the table of curves has a column of clashes where the run was looked at for them', () => {
  const [head, start, first, second] = S.curvesCsv(feed(PAIRS), 0.5).split('\r\n');
  assert.ok(head.endsWith(',nfe,together,clashing'));
  assert.ok(start.endsWith(',,'));
  assert.ok(first.endsWith(',2,1') && second.endsWith(',1,0'));
  assert.ok(S.curvesCsv(feed(PAIRS.slice(0, 4))).split('\r\n')[0].endsWith(',nfe'));
});

test('large numbers are grouped', () => {
  assert.deepEqual([7, 137, 2823, 50257, 1000000].map(S.whole), ['7', '137', '2,823', '50,257', '1,000,000']);
});
