// The token canvas as data, under Node: `node --test tests/ui/token_canvas.test.mjs`.
import assert from 'node:assert/strict';
import {readFileSync} from 'node:fs';
import {createRequire} from 'node:module';
import {test} from 'node:test';

const FOLDER = new URL('../../ddemo/ui/token_canvas/', import.meta.url);
const require = createRequire(import.meta.url);
const M = require(new URL('model.js', FOLDER).pathname);

const MASK = 4;
const WORDS = {10: 'The', 11: ' sailor', 12: ' looked', 13: ' gazed', 14: ' out', 15: '.', 16: ' turned'};
const HEAD = {mask: MASK, steps: 4, hmax: 8, id_bytes: 2, k: 2, sampler: 'Confidence', draw: 'sample',
  temperature: 1, seed: 7};

const base64 = (array) => Buffer.from(array.buffer, array.byteOffset, array.byteLength).toString('base64');
const near = (a, b, tolerance = 0.004) => assert.ok(Math.abs(a - b) <= tolerance, `${a} is not ${b}`);

function segment(tokens, more = {}) {
  return {step: 0, t: 1, tokens, fixed: [0, 1], forced: [], locked: [],
    masks: tokens.filter((id) => id === MASK).length, ...more};
}

const open = (run = 'a', tokens = [10, 11, MASK, MASK, MASK], more = {}) => (
  {k: 'open', run, n: 0, head: HEAD, vocab: WORDS, segment: segment(tokens, more)});

// looks: [[position, entropy, [[id, p], [id, p]]], ...] in ascending order of the masked positions
function frame(n, set, looks, more = {}) {
  const ids = Uint16Array.from(looks.flatMap(([, , list]) => list.map(([id]) => id)));
  const p = Uint8Array.from(looks.flatMap(([, , list]) =>
    list.map(([, q]) => Math.round(255 * Math.sqrt(q)))));
  const h = Uint8Array.from(looks.map(([, entropy]) => Math.round((255 * entropy) / HEAD.hmax)));
  return {k: 'frame', run: 'a', n, step: n, t: 1 - n / 4, nfe: n, set, at: null, h: base64(h),
    ids: base64(ids), p: base64(p), vocab: {}, fresh: true, ...more};
}

const GUESSES = [[12, 0.5], [13, 0.25]];
const RUN = [
  open(),
  frame(1, [[3, 14, 0.6]], [[2, 3, GUESSES], [3, 2, [[14, 0.6], [12, 0.1]]], [4, 1, [[15, 0.9],
    [14, 0.05]]]]),
  frame(2, [[2, 12, 0.55]], [[2, 2.5, [[12, 0.55], [13, 0.3]]], [4, 1, [[15, 0.92], [14, 0.04]]]]),
  frame(3, [[4, 15, 0.95]], [[4, 0.5, [[15, 0.95], [14, 0.02]]]]),
  {k: 'end', run: 'a', n: 4, state: 'finished', say: '', seconds: 0.5},
];

function feed(messages, state = M.initial()) {
  let warnings = [];
  for (const message of messages) {
    const result = M.receive(state, message);
    assert.equal(result.fetch, null, `unexpected fetch at ${JSON.stringify(message).slice(0, 80)}`);
    if (result.warning) warnings.push(result.warning);
    state = result.state;
  }
  assert.deepEqual(warnings, []);
  return state;
}

const finished = () => feed(RUN);
const tokens = (state) => [...M.stopShown(state).tokens];
const text = (state) => M.cells(state).map((cell) => (cell.masked ? '_' : cell.gap + cell.ink)).join('');
// ---------------------------------------------------------------- messages

test('frames are deltas and every step keeps its own snapshot', () => {
  const state = finished();
  assert.equal(M.player(state).at, 3);
  assert.equal(text(state), 'The sailor looked out.');
  assert.deepEqual(tokens(M.goTo(state, 0)), [10, 11, MASK, MASK, MASK]);
  assert.deepEqual(tokens(M.goTo(state, 1)), [10, 11, MASK, 14, MASK]);
  assert.deepEqual(tokens(M.goTo(state, 2)), [10, 11, 12, 14, MASK]);
  assert.deepEqual(M.cells(M.goTo(state, 2)).map((cell) => cell.fresh), [false, false, true, false, false]);
  assert.equal(M.status(state).kind, 'finished');
});

// Uniform noise: a canvas of words from the first, every free one looked at in every step.
const NOISE_HEAD = {...HEAD, noise: 'uniform', rewrites: true};
const NOISY = [
  {...open('u', [10, 11, 16, 13]), head: NOISE_HEAD},
  frame(1, [[2, 12, 0.5]], [[2, 3, GUESSES], [3, 2, [[14, 0.6], [12, 0.1]]]], {run: 'u', at: 'free'}),
  frame(2, [[2, 14, 0.3]], [[2, 1, [[14, 0.3], [12, 0.2]]], [3, 1.5, [[14, 0.7], [13, 0.2]]]], {run: 'u', at: 'free'}),
];

test('latents begin with words of the noise, too', () => {
  const cells = M.cells(feed([{...NOISY[0], head: {...NOISE_HEAD, noise: 'gaussian'}}]));
  assert.deepEqual(cells.map((cell) => cell.noise), [false, false, true, true]);
  const last = {...NOISY[1], t: 0};
  const arrived = M.cells(feed([{...NOISY[0], head: {...NOISE_HEAD, noise: 'gaussian'}}, last]));
  assert.deepEqual(arrived.map((cell) => cell.noise), [false, false, false, false], 'where they arrive is no noise');
  assert.equal(M.describe(arrived[3]), 'the nearest word from the beginning');
  assert.equal(M.noiseIsWords({noise: 'gaussian'}) && !M.noiseIsWords({noise: 'absorbing'}), true);
});

test('under uniform noise the words of the noise are told from those that the run wrote and took back', () => {
  const state = feed(NOISY);
  const marks = (at) => M.cells(M.goTo(state, at)).map((cell) => (
    ['noise', 'fresh', 'resampled'].filter((name) => cell[name]).join('+')));
  assert.deepEqual(marks(0), ['', '', 'noise', 'noise']);
  assert.deepEqual(marks(1), ['', '', 'fresh', 'noise'], 'a first word over noise is no change of mind');
  assert.deepEqual(marks(2), ['', '', 'fresh+resampled', 'noise']);
  assert.equal(M.describe(M.cells(state)[3]), 'a random word of the noise, not changed yet');
  assert.match(M.describe(M.cells(state)[2]), /^resampled at step 2/);
  const {noise, resampled, mask, remasked} = M.marksOf(M.runShown(state));
  assert.deepEqual([noise, resampled, mask, remasked], [true, true, false, false]);
  assert.equal(M.marksOf(M.runShown(feed(NOISY.slice(0, 2)))).resampled, false);
  assert.equal(M.marksOf(M.runShown(finished())).noise, false);
});

test('what a run took back is told of the token that stands there now, and counted', () => {
  const past = (state, at) => M.inspect(M.hover(state, at)).past.map(({id, from, to}) => [id, from, to]);
  const more = feed([...NOISY, frame(3, [], [[2, 1, GUESSES], [3, 1, GUESSES]], {run: 'u', at: 'free'}),
    frame(4, [[2, 16, 0.3], [3, 14, 0.2]], [[2, 1, GUESSES], [3, 1, GUESSES]], {run: 'u', at: 'free'}),
    {k: 'end', run: 'u', n: 5, state: 'finished', say: '', seconds: 1}]);
  assert.deepEqual(past(more, 2), [[12, 1, 1], [14, 2, 3]], 'the noise was not its own');
  assert.deepEqual(past(more, 3), []);
  assert.deepEqual(past(more, 0), [], 'nor was the prompt');
  assert.deepEqual(past(M.goTo(more, 2), 2), [[12, 1, 1]]);
  assert.deepEqual(past(M.goTo(more, 0), 2), []);
  assert.match(M.status(more).text, /It took back a word of its own 2 times\./);
  assert.match(M.status(feed([...NOISY, {k: 'end', run: 'u', n: 3, state: 'finished', say: '', seconds: 1}])).text, /own once\./);
  assert.doesNotMatch(M.status(finished()).text, /took back/);
  const [first, ...frames] = NOISY, end = {k: 'end', run: 'u', n: 3, state: 'finished', say: '', seconds: 1};
  const latents = feed([{...first, head: {...first.head, noise: 'gaussian'}}, ...frames, end]);
  assert.match(M.status(latents).text, /Nearest words changed once on the way\./);

  const rest = [[3, 1, GUESSES], [4, 1, GUESSES]];
  const remasked = feed([open(), frame(1, [[2, 12, 0.9]], [[2, 1, GUESSES], ...rest]), frame(2, [[2, MASK, null]], rest),
    frame(3, [[2, 12, 0.9]], [[2, 1, GUESSES], ...rest])]);
  assert.deepEqual(past(M.goTo(remasked, 2), 2), [[12, 1, 1]], 'a mask stands there now');
  assert.deepEqual(past(remasked, 2), [[12, 1, 1]]);
});

test('candidates at all that is free come without a list of positions, and tell of standing tokens too', () => {
  const state = feed(NOISY);
  assert.equal(M.beliefs(M.stopShown(state), 0), null, 'the prompt is not looked at');
  const {step, committed, candidates} = M.beliefs(M.stopShown(state), 3);
  assert.deepEqual([step, committed, candidates[0].id], [2, false, 14]);
  assert.equal(M.beliefs(M.stopShown(state), 2).committed, true);
  near(M.beliefs(M.stopShown(M.goTo(state, 1)), 3).candidates[0].p, 0.6);
  const unknown = M.receive(state, {...NOISY[2], n: 3, step: 3, at: 'everywhere'});
  assert.match(unknown.warning, /malformed frame/);
});

test('a run that rewrites can go on without a mask, from any step but its last', () => {
  const stopped = feed([...NOISY, {k: 'end', run: 'u', n: 3, state: 'stopped', say: '', seconds: 1}]);
  assert.equal(M.continuing(stopped).offered, true);
  assert.deepEqual(M.resumeRequest(M.goTo(stopped, 1)), {run: 'u', step: 1, segment: 0, cells: null});
  const done = feed([...NOISY, {k: 'end', run: 'u', n: 3, state: 'finished', say: '', seconds: 1}]);
  assert.equal(M.continuing(done).offered, false);
  assert.equal(M.continuing(M.goTo(done, 1)).offered, true);
});

test('after an edit the words put over new masks are noise again, the others stay what they were', () => {
  const edited = {k: 'branch', run: 'v', n: 0, from: 'u', step: 2, fromSegment: 0, head: NOISE_HEAD, vocab: {},
    segment: segment([10, 11, 14, 16], {t: 0.5, step: 2})};
  const cells = M.cells(feed([...NOISY, {k: 'end', run: 'u', n: 3, state: 'finished', say: '', seconds: 1}, edited]));
  assert.deepEqual(cells.map((cell) => cell.noise), [false, false, false, true]);
  assert.equal(cells[2].step, 2, 'when it was written is remembered');
});

test('tokens that are masked again and written again keep their own marks', () => {
  const state = feed([open('a', [10, 11, MASK, MASK, MASK]),
    frame(1, [[2, 12, 0.5], [3, 14, 0.6]], [[2, 3, GUESSES], [3, 2, [[14, 0.6], [12, 0.1]]], [4, 1, GUESSES]]),
    frame(2, [[2, MASK, 0], [4, 15, 0.9]], [[2, 3, GUESSES], [3, 2, GUESSES], [4, 1, [[15, 0.9], [12, 0.1]]]],
      {at: 'free'})]);
  assert.deepEqual(M.cells(state).map((cell) => cell.remasked), [false, false, true, false, false]);
  assert.deepEqual([M.stats(state.runs.get('a').stops[2]).wrote, M.stats(state.runs.get('a').stops[2]).remasked], [1, 1]);
  assert.equal(M.marksOf(M.runShown(state)).remasked, true);
  assert.equal(M.beliefs(M.stopShown(state), 3).step, 2, 'the newest look tells of a token that stands');
  assert.equal(M.describe(M.cells(state)[2]).startsWith('masked again'), true);
});

test('receiving a message leaves the state it was given as it was', () => {
  const before = feed(RUN.slice(0, 2));
  const kept = M.stopShown(before), stops = M.runShown(before).stops.length;
  const copy = [...kept.tokens];
  feed(RUN.slice(2), before);
  assert.equal(M.stopShown(before), kept);
  assert.equal(M.runShown(before).stops.length, stops);
  assert.deepEqual([...kept.tokens], copy);
});

test('probabilities and entropies are read back from their bytes', () => {
  const state = M.goTo(finished(), 1);
  const belief = M.beliefs(M.stopShown(state), 2);
  near(belief.entropy, 3, 8 / 510);
  assert.deepEqual(belief.candidates.map(({id}) => id), [12, 13]);
  near(belief.candidates[0].p, 0.5);
  near(belief.candidates[1].p, 0.25);
  near(M.probabilityOf(255), 1, 0);
  near(M.probabilityOf(51), 0.04, 1e-9);
  near(M.entropyOf(128, 8), 128 / 255 * 8, 1e-9);
});

test('four-byte ids are read as such', () => {
  const head = {...HEAD, id_bytes: 4, k: 1};
  const big = 70000;
  const start = {...open(), head, segment: segment([10, MASK]), vocab: {10: 'The', 70000: ' sea'}};
  const step = {...frame(1, [], []), h: base64(Uint8Array.of(255)), p: base64(Uint8Array.of(255)),
    ids: base64(Uint32Array.of(big))};
  const state = feed([start, step]);
  assert.deepEqual(M.beliefs(M.stopShown(state), 1).candidates, [{id: big, p: 1}]);
});

test('a token keeps the list of its commit, a mask has the newest look', () => {
  const state = finished();
  const commit = M.beliefs(M.stopShown(state), 3);
  assert.equal(commit.step, 1);
  assert.equal(commit.committed, true);
  near(commit.candidates[0].p, 0.6);
  const mask = M.beliefs(M.stopShown(M.goTo(state, 2)), 4);
  assert.equal(mask.step, 2);
  assert.equal(mask.committed, false);
  assert.equal(M.beliefs(M.stopShown(state), 0), null, 'the prompt was never looked at');
});

test('a step without a fresh look keeps the last one; `at` names the positions looked at', () => {
  const reused = {k: 'frame', run: 'a', n: 2, step: 2, t: 0.5, nfe: 1, set: [], at: null, vocab: {},
    fresh: false};
  const state = feed([...RUN.slice(0, 2), reused]);
  assert.equal(M.beliefs(M.stopShown(state), 2).step, 1);
  near(M.beliefs(M.stopShown(state), 2).candidates[0].p, 0.5);
  const some = feed([open(), frame(1, [], [[3, 1, GUESSES]], {at: [3]})]);
  assert.equal(M.beliefs(M.stopShown(some), 2), null);
  near(M.beliefs(M.stopShown(some), 3).candidates[0].p, 0.5);
});

test('masking again and resampling are told apart from committing', () => {
  const state = feed([...RUN.slice(0, 2),
    frame(2, [[3, MASK, 0.1]], [[2, 3, GUESSES], [4, 1, GUESSES]]),
    frame(3, [[2, 12, 0.5]], [[2, 3, GUESSES], [3, 3, GUESSES], [4, 1, GUESSES]]),
    frame(4, [[2, 13, 0.2]], [[2, 3, GUESSES], [3, 3, GUESSES], [4, 1, GUESSES]], {at: [2, 3, 4]})]);
  const again = M.cells(M.goTo(state, 2))[3];
  assert.deepEqual([again.masked, again.remasked, again.step], [true, true, NaN]);
  const last = M.cells(state)[2];
  assert.deepEqual([last.resampled, last.step, last.fresh], [true, 4, true]);
  assert.equal(M.cells(M.goTo(state, 3))[2].resampled, false);
  assert.deepEqual([M.stats(M.stopShown(state)).wrote, M.stats(M.stopShown(M.goTo(state, 2))).remasked],
    [1, 1]);
  assert.equal(M.marksOf(M.runShown(state)).resampled, true);
});

test('a gap asks once, holds what came early, and goes on in order', () => {
  let state = feed(RUN.slice(0, 1));
  const gap = M.receive(state, RUN[2]);
  assert.deepEqual(gap.fetch, {run: 'a', n: 1});
  const more = M.receive(gap.state, RUN[3]);
  assert.equal(more.fetch, null, 'already asked');
  assert.equal(M.lastIndex(more.state), 0);
  const after = M.supply(more.state, 'a', [RUN[1], RUN[2]]); // the answer overlaps what was held
  assert.equal(after.fetch, null);
  assert.equal(text(after.state), 'The sailor looked out.');
  assert.equal(M.status(feed(RUN.slice(4), after.state)).kind, 'finished');
});

test('what came early in any order is put in order', () => {
  let state = M.receive(feed(RUN.slice(0, 1)), RUN[3]).state;
  state = M.receive(state, RUN[2]).state;
  const {state: after, fetch} = M.supply(state, 'a', [RUN[1]]);
  assert.equal(fetch, null);
  assert.equal(text(after), 'The sailor looked out.');
});

test('a mask at the beginning of a line is not set off by a space', () => {
  const state = feed([{...open('a', [MASK, 10, 20, MASK, MASK]), vocab: {...WORDS, 20: '.\n'}}]);
  assert.deepEqual(M.cells(state).map((cell) => cell.begins), [true, false, false, true, false]);
});

test('messages seen before change nothing', () => {
  const state = finished();
  for (const message of RUN) assert.equal(M.receive(state, message).state, state);
});

test('an unknown run is fetched from its beginning', () => {
  const asked = M.receive(M.initial(), RUN[2]);
  assert.deepEqual(asked.fetch, {run: 'a', n: 0});
  const {state, fetch} = M.supply(asked.state, 'a', RUN);
  assert.equal(fetch, null);
  assert.equal(text(state), 'The sailor looked out.');
});

test('a run that cannot be had is given up, not asked for for ever', () => {
  const lost = M.supply(M.receive(M.initial(), RUN[2]).state, 'a', null);
  assert.equal(lost.fetch, null);
  assert.match(lost.warning, /could not be had/);
  const broken = M.receive(feed(RUN.slice(0, 2)), RUN[3]);
  const failed = M.supply(broken.state, 'a', []);
  assert.equal(failed.fetch, null);
  assert.equal(M.status(failed.state).kind, 'failed');
  assert.equal(M.receive(failed.state, RUN[3]).fetch, null, 'one answer that does not help is enough');
});

test('malformed messages are ignored with a warning, and the run goes on', () => {
  const state = feed(RUN.slice(0, 1));
  for (const bad of [null, 7, 'x', {}, {k: 'nonsense'}, {k: 'frame'}, {k: 'frame', run: 'a', n: 'x'},
    {k: 'open', run: 'b', n: 0}, {k: 'trace', run: 't'},
    {k: 'trace', run: 't', m: []}, {k: 'draft', run: 'd', n: 0, head: HEAD}]) {
    const result = M.receive(state, bad);
    assert.equal(result.state, state, JSON.stringify(bad));
    assert.notEqual(result.warning, '');
  }
  const outside = M.receive(state, {...RUN[1], set: [[99, 12, 0.5]]});
  assert.match(outside.warning, /cannot set 99/);
  assert.equal(M.receive(outside.state, RUN[2]).fetch, null, 'the unreadable frame counts as seen');
  assert.match(M.receive(state, {...RUN[1], h: 'AAAA', p: ''}).warning, /candidates|entropies/);
});

test('a trace shows its last step, not playing', () => {
  const state = feed([{k: 'trace', run: 'a', m: RUN}]);
  assert.equal(text(state), 'The sailor looked out.');
  assert.equal(state.playing, null);
  assert.equal(M.player(state).at, 3);
  const noted = feed([{k: 'trace', run: 'a', m: [{...RUN[0], head: {...HEAD, note: 'A recorded run.'}},
    ...RUN.slice(1)]}]);
  assert.equal(M.status(noted).text, 'A recorded run.');
});

test('a run that stopped says where', () => {
  const state = feed([...RUN.slice(0, 3), {k: 'end', run: 'a', n: 3, state: 'stopped', say: '', seconds: 1}]);
  assert.equal(M.status(state).text, 'Stopped at step 2 of 4: what is here can be edited and continued.');
});

// ---------------------------------------------------------------- branches

const branch = (from, step, more = {}) => ({k: 'branch', run: 'b', n: 0, from, step,
  head: {...HEAD, steps: 6}, vocab: {16: ' turned'}, segment: null, ...more});

test('going on without edits continues the same stops', () => {
  const state = feed([...RUN, branch('a', 1),
    {...frame(1, [[2, 16, 0.4]], [[2, 3, GUESSES], [4, 1, GUESSES]]), run: 'b', step: 2}]);
  assert.equal(M.runShown(state).stops.length, 3);
  assert.deepEqual(tokens(state), [10, 11, 16, 14, MASK]);
  assert.equal(text(M.runOf(state, 'a')), 'The sailor looked out.', 'the run it left is untouched');
});

test('a branch may have another length, and then has two stops at its step', () => {
  const longer = segment([10, 11, 16, MASK, MASK, 14, MASK], {forced: [2], t: 0.7,
    from: [0, 1, -1, -1, 2, 3, 4]});
  const state = feed([...RUN, branch('a', 1, {segment: longer}),
    {...frame(1, [[3, 12, 0.4]], [[3, 3, GUESSES], [4, 3, GUESSES], [6, 1, GUESSES]]), run: 'b', step: 2}]);
  const player = M.player(state);
  assert.deepEqual(player.ticks, [2]);
  assert.deepEqual(M.runShown(state).stops.map((stop) => [stop.step, stop.tokens.length]),
    [[0, 5], [1, 5], [1, 7], [2, 7]]);
  assert.equal(M.cells(state)[2].forced, true);
  assert.equal(M.cells(state)[5].step, 1, 'a token that stayed keeps its commit');
  near(M.beliefs(M.stopShown(state), 5).candidates[0].p, 0.6);
  assert.equal(text(M.goTo(state, 1)), 'The sailor_ out_');
});

test('without `from` the commits are found again from both ends', () => {
  const state = feed([...RUN, branch('a', 3, {segment: segment([10, 11, MASK, MASK, 14, 15])})]);
  assert.deepEqual(M.cells(state).map((cell) => cell.step), [NaN, NaN, NaN, NaN, 1, 3]);
});

test('a branch from a run that is not here has it fetched first', () => {
  const held = M.receive(M.initial(), branch('a', 1));
  assert.deepEqual(held.fetch, {run: 'a', n: 0});
  const {state} = M.supply(held.state, 'a', RUN);
  assert.equal(M.runShown(state).id, 'b');
  assert.equal(M.stopShown(state).step, 1);
});

test('a segment inside a run opens a stop of its own, as a branch does', () => {
  const edited = segment([10, 11, MASK, 14, 15], {step: 1, t: 0.5, forced: [4]});
  const state = feed([...RUN.slice(0, 2), {k: 'segment', run: 'a', n: 2, segment: edited},
    frame(3, [[2, 12, 0.5]], [[2, 3, GUESSES]], {step: 2}), {...RUN[4], n: 4}]);
  assert.deepEqual(M.runShown(state).stops.map((stop) => [stop.step, stop.part]), [[0, 0], [1, 0], [1, 1], [2, 1]]);
  assert.deepEqual(M.player(state).ticks, [2]);
  assert.deepEqual(M.resumeRequest(M.goTo(state, 2)), {run: 'a', step: 1, segment: 1, cells: null});
});

test('a branch leaves the segment that it names', () => {
  const edited = feed([...RUN, branch('a', 1, {segment: segment([10, 11, 16, 14, MASK])})]);
  const back = {...branch('b', 1, {fromSegment: 0}), run: 'c'};
  assert.deepEqual(tokens(feed([back], edited)), [10, 11, MASK, 14, MASK]);
  assert.deepEqual(tokens(feed([{...back, fromSegment: 1}], edited)), [10, 11, 16, 14, MASK]);
  assert.deepEqual(tokens(feed([{...back, fromSegment: null}], edited)), [10, 11, 16, 14, MASK]);
});

test('resuming from before an edit names the segment that was there before it', () => {
  const edited = feed([...RUN, branch('a', 1, {segment: segment([10, 11, MASK, 14, 15])})]);
  const done = feed([{k: 'end', run: 'b', n: 1, state: 'stopped', say: '', seconds: 1}], edited);
  assert.deepEqual(M.resumeRequest(M.goTo(done, 0)), {run: 'b', step: 0, segment: 0, cells: null});
  assert.deepEqual(M.resumeRequest(M.goTo(done, 1)), {run: 'b', step: 1, segment: 0, cells: null});
  assert.deepEqual(M.resumeRequest(M.goTo(done, 2)), {run: 'b', step: 1, segment: 1, cells: null});
});

// ---------------------------------------------------------------- text

const bytes = (...values) => Uint8Array.from(values);

test('a character split over tokens belongs to the token that completes it', () => {
  const [first, second, third] = M.alignText([bytes(0xf0, 0x9f), bytes(0x98), bytes(0x80, 0x21)]);
  assert.deepEqual([first.text, second.text, third.text], ['', '', '😀!']);
  assert.deepEqual([first.part, second.part, third.part], ['😀', '😀', '']);
  const mixed = M.alignText(['He ', bytes(0xc3), bytes(0xa9, 0x74), 'é']);
  assert.deepEqual(mixed.map((piece) => piece.text), ['He ', '', 'ét', 'é']);
});

test('masks break the stream, and lone bytes are shown as such', () => {
  const broken = M.alignText([bytes(0xe2, 0x82), null, bytes(0xac), 'a']);
  assert.deepEqual(broken.map((piece) => piece.text), ['⟨E2⟩⟨82⟩', '', '⟨AC⟩', 'a']);
  assert.equal(broken[0].plain, '\ufffd\ufffd');
  assert.equal(M.alignText(['a', bytes(0xe2)])[1].text, '⟨E2⟩', 'nothing comes after it');
  const surrogate = bytes(0xed, 0xa0, 0x80);
  assert.deepEqual(M.alignText([bytes(0xff), bytes(0xe2), 'x', surrogate]).map((piece) => piece.text),
    ['⟨FF⟩', '⟨E2⟩', 'x', '⟨ED⟩⟨A0⟩⟨80⟩']);
});

test('any UTF-8 text cut anywhere is given back whole', () => {
  const whole = 'naïve — “¿qué?” 日本 🏴‍☠️ שלום\n';
  const raw = new TextEncoder().encode(whole);
  for (let size = 1; size <= 5; size += 1) {
    const parts = [];
    for (let i = 0; i < raw.length; i += size) parts.push(raw.slice(i, i + size));
    const pieces = M.alignText(parts);
    assert.equal(pieces.map((piece) => piece.plain).join(''), whole);
    assert.equal(pieces.map((piece) => piece.text).join(''), whole);
  }
});

test('what cannot be seen is shown, what can is left alone', () => {
  assert.deepEqual(M.visible(' <b>${x}</b> {{y}}'), [{kind: 'text', text: ' <b>${x}</b> {{y}}'}]);
  assert.deepEqual(M.visible('a\n'), [{kind: 'text', text: 'a'}, {kind: 'mark', text: '⏎'},
    {kind: 'break', text: '\n'}]);
  assert.deepEqual(M.visible('  '), [{kind: 'mark', text: '␣␣'}]);
  assert.deepEqual(M.visible('<|end_of_text|>'), [{kind: 'label', text: 'end of text'}]);
  assert.deepEqual(M.visible('[SEP]'), [{kind: 'label', text: 'SEP'}]);
  assert.deepEqual(M.visible('\u202e'), [{kind: 'mark', text: '⟨RLO⟩'}]);
  assert.deepEqual(M.visible('\u200d'), [{kind: 'mark', text: '⟨ZWJ⟩'}]);
  assert.deepEqual(M.visible('👩\u200d🚀'), [{kind: 'text', text: '👩\u200d🚀'}]);
  assert.deepEqual(M.visible('\u0007\ud800'), [{kind: 'mark', text: '␇⟨D800⟩'}]);
});

test('a leading space stands outside the cell, an id without text shows its number', () => {
  assert.deepEqual(M.splitGap(' looked'), [' ', 'looked']);
  assert.deepEqual(M.splitGap(' '), ['', ' ']);
  const state = feed([open('a', [10, 999])]);
  assert.equal(M.cells(state)[1].ink, '⟨999⟩');
});

test('own text replaces a token until the token is written anew', () => {
  const state = feed([open('a', [10, 11, MASK], {own: {1: '\u00a0Sailor'}}),
    frame(1, [[1, 13, 0.5]], [[2, 1, GUESSES]])]);
  assert.equal(M.cells(M.goTo(state, 0))[1].ink, '\u00a0Sailor');
  assert.equal(M.cells(state)[1].ink, 'gazed');
});

// ---------------------------------------------------------------- player

test('playing takes 120 ms a step and at most eight seconds', () => {
  assert.equal(M.playedTo(0, 0, 33, 1), 0);
  assert.equal(M.playedTo(0, 119, 33, 1), 0);
  assert.equal(M.playedTo(0, 240, 33, 1), 2);
  assert.equal(M.playedTo(0, 240, 33, 4), 8);
  assert.equal(M.playedTo(0, 240, 33, 0.5), 1);
  assert.equal(M.playedTo(30, 9999, 33, 1), 32);
  for (const count of [10, 67, 129, 300, 1025]) assert.equal(M.playedTo(0, 8100, count, 1), count - 1,
    `${count} stops`);
});

test('play begins again from the end, ends at the newest step, and any move stops it', () => {
  let state = M.play(finished(), 1000);
  assert.equal(state.at, 0);
  assert.equal(M.tick(state, 999).at, state.at, 'a frame whose time lies before the press');
  state = M.tick(state, 1130);
  assert.equal(state.at, 1);
  assert.equal(M.goTo(state, 2).playing, null);
  state = M.tick(state, 9000);
  assert.deepEqual([state.at, state.playing], [3, null]);
});

test('a live run is followed until the visitor goes elsewhere', () => {
  let state = feed(RUN.slice(0, 3));
  assert.equal(state.at, 2);
  assert.deepEqual([M.player(state).live, M.player(state).following, M.player(state).max], [true, true, 4]);
  state = feed(RUN.slice(3, 4), M.goTo(state, 1));
  assert.equal(state.at, 1);
  assert.equal(M.player(state).following, false);
  assert.equal(M.catchUp(state).at, 3);
});

test('the readout is of the stop on show, and absent is absent', () => {
  const state = finished();
  const first = M.stats(M.stopShown(M.goTo(state, 0)));
  assert.deepEqual([first.masks, first.gate, first.mean, first.wrote], [3, NaN, NaN, NaN]);
  const second = M.stats(M.stopShown(M.goTo(state, 1)));
  assert.deepEqual([second.masks, second.wrote, second.nfe, second.t], [2, 1, 1, 0.75]);
  near(second.gate, 0.5);
  near(second.mean, 0.7);
  const last = M.stats(M.stopShown(state));
  assert.deepEqual([last.masks, last.gate], [0, NaN]);
});

// ---------------------------------------------------------------- edits

const request = (state) => M.resumeRequest(state).cells;

test('edits become cells: forced, masked, typed, locked', () => {
  let state = M.goTo(finished(), 2);
  assert.equal(request(state), null);
  state = M.forceToken(state, 2, 13);
  state = M.lockSpan(state, 3, 3, true);
  state = M.maskSpan(state, 1, 1);
  state = M.typeText(state, 4, 4, ' at last.');
  assert.deepEqual(request(state), [{from: 0}, {from: 1, mask: true}, {from: 2, id: 13},
    {from: 3, lock: true}, {from: 4, text: ' at last.'}]);
  assert.deepEqual(M.resumeRequest(state).run, 'a');
  assert.equal(M.editCount(state), 4);
  assert.equal(text(state), 'The_ gazed out at last.');
  assert.deepEqual(M.cells(state).map((cell) => cell.pending), [false, true, true, true, true]);
});

test('undo takes back the last edit, discard all, and an edit that undoes itself is none', () => {
  let state = M.forceToken(M.goTo(finished(), 2), 2, 13);
  state = M.maskSpan(state, 0, 1);
  assert.equal(M.editCount(M.undo(state)), 1);
  assert.deepEqual(request(M.undo(state))[2], {from: 2, id: 13});
  assert.equal(request(M.undo(M.undo(state))), null);
  assert.equal(request(M.discard(state)), null);
  assert.equal(request(M.forceToken(M.undo(state), 2, 12)), null);
  assert.equal(request(M.unmaskSpan(M.maskSpan(M.goTo(finished(), 2), 0, 3), 0, 3)), null);
  assert.equal(M.editCount(M.maskSpan(M.goTo(finished(), 1), 2, 2)), 0, 'it is a mask already');
});

test('the stepper sets how many tokens may fill a masked run', () => {
  let state = M.select(M.maskSpan(M.goTo(finished(), 3), 2, 3), 2, 3);
  state = M.resizeRun(state, 2, 4);
  assert.deepEqual(request(state), [{from: 0}, {from: 1}, {from: 2, mask: true}, {from: 3, mask: true},
    {mask: true}, {mask: true}, {from: 4}]);
  state = M.resizeRun(state, 2, 1);
  assert.deepEqual(request(state), [{from: 0}, {from: 1}, {from: 2, mask: true}, {from: 4}]);
  assert.ok(state.selection.focus <= 2);
  assert.equal(M.resizeRun(state, 2, 0), state);
  const full = feed([{...open(), head: {...HEAD, limit: 6}},
    {k: 'end', run: 'a', n: 1, state: 'stopped', say: '', seconds: 0}]);
  assert.equal(M.rowShown(M.resizeRun(full, 3, 50)).length, 6, 'never longer than the checkpoint takes');
});

test('typing over several tokens leaves one cell; a word over a new mask says that it was one', () => {
  const state = M.typeText(M.goTo(finished(), 3), 2, 3, ' went away');
  assert.deepEqual(request(state), [{from: 0}, {from: 1}, {from: 2, text: ' went away'}, {from: 4}]);
  let grown = M.resizeRun(M.goTo(finished(), 1), 2, 2);
  grown = M.typeText(grown, 3, 3, ' so');
  assert.deepEqual(request(grown)[3], {mask: true, text: ' so'});
});

test('locks are said for the whole row, and only what the run wrote can be locked', () => {
  const locked = feed([...RUN, branch('a', 3,
    {segment: segment([10, 11, 12, MASK, 15], {fixed: [0, 1, 2], locked: [2]})}),
    {k: 'end', run: 'b', n: 1, state: 'stopped', say: '', seconds: 0}]);
  assert.equal(request(locked), null);
  assert.deepEqual(request(M.maskSpan(locked, 4, 4)), [{from: 0}, {from: 1}, {from: 2, lock: true},
    {from: 3}, {from: 4, mask: true}]);
  assert.deepEqual(request(M.lockSpan(locked, 2, 2, false))[2], {from: 2});
  assert.equal(request(M.lockSpan(locked, 0, 1, true)), null, 'the prompt is held already');
  assert.equal(M.cells(locked)[2].kind, 'token');
});

test('edits belong to their step: elsewhere they wait, and coming back shows them', () => {
  const state = M.forceToken(M.goTo(finished(), 2), 2, 13);
  const away = M.goTo(state, 3);
  assert.equal(request(away), null);
  assert.equal(text(away), 'The sailor looked out.');
  assert.deepEqual(M.parkedEdits(away), {index: 2, step: 2, count: 1});
  assert.equal(M.parkedEdits(state), null);
  assert.equal(M.cells(M.goTo(away, 2))[2].ink, 'gazed');
});

test('nothing is edited while a run goes on, and a branch takes its edits with it', () => {
  const live = feed(RUN.slice(0, 2));
  assert.notEqual(M.editReason(live), '');
  assert.equal(M.maskSpan(live, 0, 1), live);
  const edited = M.forceToken(M.goTo(finished(), 2), 2, 13);
  const waiting = M.wait(edited);
  assert.equal(M.status(waiting).kind, 'loading');
  assert.equal(M.maskSpan(waiting, 0, 0), waiting);
  const gone = feed([branch('a', 2, {segment: segment([10, 11, 13, 14, MASK], {forced: [2]})})], waiting);
  assert.equal(gone.waiting, null);
  assert.equal(gone.edits.size, 0);
});

test('waiting has a sentence of its own, and ends with what was waited for', () => {
  const waiting = feed([{k: 'wait', text: 'Loading classics-mdm…'}], finished());
  assert.deepEqual([M.status(waiting).kind, M.status(waiting).text], ['loading', 'Loading classics-mdm…']);
  assert.equal(M.isBusy(waiting), true);
  assert.equal(M.status(feed([open('z')], waiting)).kind, 'running');
  assert.equal(M.isBusy(feed([{k: 'say', text: 'No room.'}], waiting)), false);
});

test('a refusal leaves the edits and gives the editing back', () => {
  const waiting = M.wait(M.forceToken(M.goTo(finished(), 2), 2, 13));
  const said = feed([{k: 'say', text: 'Too long.'}], waiting);
  assert.deepEqual([M.status(said).text, M.editReason(said), M.editCount(said)], ['Too long.', '', 1]);
});

test('going on is offered before the last step, and after edits that leave something to fill', () => {
  const state = finished();
  assert.deepEqual(M.continuing(state), {offered: false, reason: ''});
  assert.deepEqual(M.continuing(M.goTo(state, 2)), {offered: true, reason: ''});
  assert.equal(M.continuing(M.forceToken(state, 2, 13)).offered, true);
  assert.match(M.continuing(M.forceToken(state, 2, 13)).reason, /nothing to fill/);
  assert.equal(M.continuing(M.goTo(feed(RUN.slice(0, 3)), 1)).offered, false, 'the run goes on already');
  assert.deepEqual(M.continuing(M.maskSpan(state, 2, 2)), {offered: true, reason: ''});
});

// ---------------------------------------------------------------- drafts

const draft = (ids, more = {}) => ({k: 'draft', run: 'd', n: 0, head: HEAD, vocab: WORDS,
  segment: segment(ids, {fixed: [], ...more})});

test('a draft replaces the view, and the last run stays a link away', () => {
  const state = feed([draft([10, 11, MASK, 15], {spaced: [2]})], finished());
  assert.equal(M.status(state).text, 'Press Denoise to fill the mask.');
  assert.equal(M.player(state).enabled, false);
  assert.equal(M.wholeText(state), 'The sailor [MASK].');
  assert.equal(text(M.backToRun(state)), 'The sailor looked out.');
});

test('masking a word in a draft writes a marker with the space that was its own', () => {
  const state = feed([draft([10, 11, 12, 14, 15])]);
  assert.equal(M.wholeText(M.maskSpan(state, 1, 3)), 'The [MASK:3].');
  assert.equal(M.wholeText(M.maskSpan(state, 4, 4)), 'The sailor looked out[MASK]');
  assert.equal(M.wholeText(M.maskSpan(state, 0, 0)), '[MASK] sailor looked out.');
  assert.equal(M.wholeText(M.resizeRun(M.maskSpan(state, 2, 2), 2, 5)), 'The sailor [MASK:5] out.');
  assert.equal(M.wholeText(M.unmaskSpan(M.maskSpan(state, 1, 3), 1, 3)), 'The sailor looked out.');
});

test('a mask that was there keeps its spacing where it is known, and else gets ordinary spelling', () => {
  assert.equal(M.wholeText(feed([draft([10, MASK, 15], {spaced: []})])), 'The[MASK].');
  assert.equal(M.wholeText(feed([draft([10, MASK, 15], {spaced: [1]})])), 'The [MASK].');
  assert.equal(M.wholeText(feed([draft([10, MASK, MASK])])), 'The [MASK:2]');
  assert.equal(M.wholeText(feed([draft([MASK, 11])])), '[MASK] sailor');
  assert.equal(M.wholeText(M.goTo(finished(), 2)), 'The sailor looked out[MASK]',
    'the best guess "." has no space');
  assert.equal(M.wholeText(M.goTo(finished(), 1)), 'The sailor [MASK] out[MASK]');
});

test('in a run a mask says by its guess whether it takes a space, unless the segment knows', () => {
  const known = (more) => M.goTo(feed([open('a', [10, 11, MASK, MASK, MASK], more), ...RUN.slice(1)]), 1);
  assert.equal(M.wholeText(known({spaced: []})), 'The sailor [MASK] out[MASK]');
  assert.equal(M.wholeText(known({spaced: [], unspaced: [2]})), 'The sailor[MASK] out[MASK]');
  assert.equal(M.wholeText(known({spaced: [4]})), 'The sailor [MASK] out [MASK]');
});

test('masks that the length setting added are not written into the text', () => {
  const state = feed([draft([10, 11, MASK, MASK, MASK], {tail: 3})]);
  assert.deepEqual(M.textRequest(state), {text: 'The sailor', tail: 3});
  assert.deepEqual(M.textRequest(M.resizeRun(state, 2, 5)), {text: 'The sailor', tail: 5});
  assert.deepEqual(M.textRequest(M.maskSpan(state, 1, 1)), {text: 'The [MASK]', tail: 3});
});

test('undo in a draft gives back the text that was there', () => {
  const state = feed([draft([10, 11, 12, 15])]);
  const masked = M.maskSpan(state, 1, 1);
  const sent = M.rememberText(masked, M.textRequest(state), M.textRequest(masked));
  const answered = feed([draft([10, MASK, 12, 15], {spaced: [1]})], sent);
  assert.deepEqual(M.takeBackText(answered).request, {text: 'The sailor looked.'});
  const typed = feed([draft([10, 15])], sent); // the visitor wrote something else meanwhile
  assert.equal(M.takeBackText(typed).request, null);
});

// ---------------------------------------------------------------- inspector

test('the inspector says what stands there, since when, and what else it could have been', () => {
  const info = M.inspect(M.select(finished(), 3, 3));
  assert.deepEqual([info.number, info.step, info.committed, info.beliefStep], [4, 3, true, 1]);
  assert.deepEqual(info.candidates.map((c) => [c.text, c.chosen]), [[' out', true], [' looked', false]]);
  assert.equal(info.p, 0.6);
  assert.equal(M.spoken(info.cell), 'token 4, out, committed at step 1, probability 0.60');
  assert.equal(M.inspect(finished()), null);
  const forced = M.inspect(M.select(M.forceToken(finished(), 3, 12), 3, 3));
  assert.deepEqual([forced.candidates[1].chosen, forced.replaced], [true, ' out']);
  const mask = M.inspect(M.hover(M.goTo(finished(), 1), 2));
  assert.deepEqual([mask.masks, mask.spaceBefore, mask.pinned], [1, true, false]);
});

test('cells come back as the same array until something changes', () => {
  const state = finished();
  assert.equal(M.cells(state), M.cells(M.hover(M.select(state, 1, 2), 1)));
  assert.notEqual(M.cells(state), M.cells(M.maskSpan(state, 1, 1)));
});

test('a thousand tokens and 128 steps are taken fast enough to play', () => {
  const length = 1024, many = Array.from({length}, (_, i) => (i ? MASK : 10));
  let state = feed([open('a', many)]);
  const started = process.cpuUsage(); // what others do on the machine is not counted
  for (let n = 1; n <= 128; n += 1) {
    const at = [...M.stopShown(state).tokens.keys()].filter((i) => M.stopShown(state).tokens[i] === MASK);
    state = feed([frame(n, [[at[0], 12, 0.5]], at.map((i) => [i, 1, GUESSES]))], state);
    M.cells(state);
  }
  assert.equal(M.lastIndex(state), 128);
  const {user, system} = process.cpuUsage(started);
  assert.ok(user + system < 10e6, 'slower than ten seconds');
});

// ---------------------------------------------------------------- files

test('no CSS rule mixes a shorthand that holds a variable with one of its longhands', () => {
  const css = readFileSync(new URL('canvas.css', FOLDER), 'utf8').replace(/\/\*[^]*?\*\//g, '');
  const rules = [...css.matchAll(/\{([^{}]*)\}/g)]
    .map((rule) => rule[1].split(';').map((line) => line.trim().split(/:\s*/)));
  assert.ok(rules.length > 100);
  for (const rule of rules) {
    for (const [name, value] of rule) {
      if (!/^(font|background|border|outline)$/.test(name) || !value.includes('var(')) continue;
      const mixed = rule.map(([other]) => other).filter((other) => other.startsWith(`${name}-`)
        && !/radius|offset/.test(other));
      assert.deepEqual(mixed, [], rule.map((pair) => pair.join(': ')).join('; '));
    }
  }
});

test('canvas.html is static and the palette keeps text readable', () => {
  const html = readFileSync(new URL('canvas.html', FOLDER), 'utf8');
  assert.doesNotMatch(html, /\$\{|\{\{|`|\\|<script/i);
  const css = readFileSync(new URL('palette.css', FOLDER), 'utf8');
  const themes = [/:root \{([^}]*)\}/, /\.dark \{([^}]*)\}/, /\.dd-auto \{([^}]*)\}/].map((block) => (
    Object.fromEntries([...block.exec(css)[1].matchAll(/--dd-([\w-]+): (#[0-9a-f]{6});/g)]
      .map((m) => [m[1], m[2]]))));
  assert.deepEqual(themes[1], themes[2]);
  const light = (hex) => [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16) / 255)
    .map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4))
    .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
  const contrast = (a, b) => {
    const [x, y] = [light(a), light(b)].sort((p, q) => q - p);
    return (x + 0.05) / (y + 0.05);
  };
  const pairs = [];
  for (const ground of ['paper', 'surface', 'sunken', 'accent-soft', 'warn-soft']) {
    for (const text of ['ink', 'muted', 'accent', 'forced', 'warn']) pairs.push([text, ground]);
  }
  for (const tint of ['low', 'high', 'middle', 'first', 'last', 'mask']) pairs.push(['ink', tint]);
  pairs.push(['guess', 'mask'], ['guess', 'surface'], ['accent-ink', 'accent']);
  for (const theme of themes) {
    for (const [text, ground] of pairs) {
      const ratio = contrast(theme[text], theme[ground]);
      assert.ok(ratio >= 4.5, `${text} on ${ground}: ${ratio.toFixed(2)}`);
    }
  }
});
// ---------------------------------------------------------------- what was worked out afterwards

const f4 = (list) => base64(Float32Array.from(list));
const u2 = (list) => base64(Uint16Array.from(list));
const sqrt16 = (list) => u2(list.map((p) => Math.round(65535 * Math.sqrt(p))));

// Two tokens at step 1, one at step 2.
const PAIR = [
  open('p'),
  frame(1, [[2, 12, 0.5], [3, 14, 0.6]],
    [[2, 3, GUESSES], [3, 2, [[14, 0.6], [12, 0.1]]], [4, 1, [[15, 0.9], [14, 0.05]]]], {run: 'p'}),
  frame(2, [[4, 15, 0.95]], [[4, 0.5, [[15, 0.95], [14, 0.02]]]], {run: 'p'}),
  {k: 'end', run: 'p', n: 3, state: 'finished', say: '', seconds: 0.5, rows: {final: 2, hazard: 2}},
];
const HAZARD = {steps: 2, p: f4([0.2, 0.6, 0.95]), was: f4([0.5, 0.6, 0.95])};
const FINAL = {steps: 2, bytes: 2, p: sqrt16([0.5, 0.6, 0.9, 0.95]), rank: u2([1, 1, 137, 1])};
const SCORES = {k: 'scores', run: 'p', n: 4, final: FINAL, hazard: HAZARD};

test('scores make another run object and leave the stops, which others share, as they are', () => {
  const before = feed(PAIR), after = feed([SCORES], before);
  const [old, run] = [M.runShown(before), M.runShown(after)];
  assert.notEqual(run, old);
  assert.equal(old.exact, null);
  assert.deepEqual(run.stops, old.stops);
  assert.equal(run.next, 5);
  assert.deepEqual(run.rows, {final: 2, hazard: 2});
  const {p, rank, ends} = run.exact.of.get(run.stops[1].look);
  assert.deepEqual([...rank], [1, 1, 137]);
  near(p[2], 0.9, 1e-4);
  assert.equal(ends, run.stops[2].tokens);
  assert.equal(run.clashes.of.get(run.stops[2].commits[2]).others, 1);
  assert.equal(run.clashes.of.get(run.stops[2].commits[4]).others, 0);
});

test('a token that keeps less than the share clashes from its commit on, and says so', () => {
  const state = feed([...PAIR, SCORES]);
  const clashing = (at, share) => M.cells(M.setShare(M.goTo(state, at), share)).map((cell) => cell.clash);
  assert.deepEqual(clashing(0, 0.5), [false, false, false, false, false]);
  assert.deepEqual(clashing(1, 0.5), [false, false, true, false, false]);
  assert.deepEqual(clashing(2, 0.5), [false, false, true, false, false]);
  assert.deepEqual(clashing(2, 0.25), [false, false, false, false, false]);
  assert.ok(!clashing(2, 0.75)[3], 'it lost nothing');
  const [, , cell] = M.cells(state);
  assert.match(M.describe(cell), /clashes: given the other of its step \.20, was \.50/);
  assert.equal(M.marksOf(M.runShown(state)).clash, true);
  assert.equal(M.marksOf(M.runShown(feed(PAIR))).clash, false);
  const edited = M.maskSpan(state, 2, 2);
  assert.equal(M.cells(edited)[2].clash, false, 'it no longer stands');
});

test('single precision decides as where the numbers come from', () => {
  const was = Math.fround(0.3), given = {p: Math.fround(Math.fround(0.1) * was), was, others: 2};
  assert.equal(M.isClash(given, 0.1), false);
  assert.equal(M.isClash({...given, p: given.p - 1e-9}, 0.1), true);
  assert.equal(M.isClash({...given, p: 0, others: 0}, 0.1), false, 'committed alone');
  assert.equal(M.isClash({p: 0, was: 0, others: 3}, 1), false);
});

test('a continued run and the run that it left have their own scores over the stops that they share', () => {
  const branch = {k: 'branch', run: 'q', n: 0, from: 'p', step: 1, fromSegment: null, head: PAIR[0].head, vocab: {},
    segment: null};
  let state = feed([...PAIR, SCORES, branch,
    frame(2, [[4, 14, 0.05]], [[4, 0.5, [[15, 0.95], [14, 0.05]]]], {run: 'q', n: 1}),
    {k: 'end', run: 'q', n: 2, state: 'finished', say: '', seconds: 1}]);
  assert.equal(M.runShown(state).clashes, null);
  assert.equal(M.cells(M.goTo(state, 1))[2].clash, false);
  state = M.runOf(state, 'p');
  assert.equal(M.cells(M.goTo(state, 1))[2].clash, true, 'cells of a shared stop are made for the run on show');
  const other = {...SCORES, run: 'q', n: 3, final: {...FINAL, rank: u2([1, 1, 2, 2])}};
  state = feed([other], state);
  const [p, q] = ['p', 'q'].map((id) => state.runs.get(id));
  assert.equal(p.stops[1], q.stops[1]);
  assert.deepEqual([p, q].map((run) => run.exact.of.get(run.stops[1].look).rank[2]), [137, 2]);
});

test('what an end of text brought along was not drawn, and a mask has no probability', () => {
  const filled = [open('f'),
    frame(1, [[2, 12, 0.5], [3, 14, 0], [4, MASK, 0]], [[2, 3, GUESSES], [3, 2, GUESSES], [4, 1, GUESSES]], {run: 'f'}),
    {k: 'end', run: 'f', n: 2, state: 'stopped', say: '', seconds: 1},
    {k: 'scores', run: 'f', n: 3, hazard: {steps: 1, p: f4([0.5, 0, 0]), was: f4([0.5, 0, 0])}}];
  const run = M.runShown(feed(filled));
  assert.deepEqual([...run.clashes.of.values()].map(({p, others}) => [p, others]), [[0.5, 0]]);
  assert.equal(run.exact, null);
});

test('scores of a part, one kind after the other, and scores that do not fit', () => {
  const part = {...SCORES, hazard: undefined,
    final: {steps: 1, bytes: 2, p: sqrt16([0.5, 0.6, 0.9]), rank: u2([1, 1, 9])}};
  let state = feed([...PAIR, part]);
  assert.equal(M.runShown(state).exact.steps, 1);
  assert.equal(M.runShown(state).exact.of.size, 1);
  state = feed([{...SCORES, n: 5, final: undefined}], state);
  assert.ok(M.runShown(state).exact && M.runShown(state).clashes, 'what came before is kept');
  for (const wrong of [{final: {...FINAL, steps: 3}}, {final: {...FINAL, rank: u2([1])}},
    {hazard: {...HAZARD, p: f4([0.1])}}, {hazard: {...HAZARD, steps: -1}}, {final: {...FINAL, p: '?'}}]) {
    const {state: next, warning} = M.receive(feed(PAIR), {k: 'scores', run: 'p', n: 4, ...wrong});
    assert.match(warning, /malformed scores/);
    assert.equal(M.runShown(next).next, 5, 'it is not asked for again');
    assert.equal(M.runShown(next).exact, null);
  }
});

test('ranks of four bytes are read as such, and a gap before scores is asked for', () => {
  const wide = {...FINAL, bytes: 4, rank: base64(Uint32Array.from([1, 70000, 3, 4]))};
  const run = M.runShown(feed([...PAIR, {...SCORES, final: wide}]));
  assert.equal(run.exact.of.get(run.stops[1].look).rank[1], 70000);
  const early = M.receive(feed(PAIR), {...SCORES, n: 5});
  assert.deepEqual(early.fetch, {run: 'p', n: 4});
  const {state} = M.supply(early.state, 'p', [SCORES]);
  assert.equal(M.runShown(state).next, 6);
  assert.ok(M.runShown(state).exact);
});

test('a stored run has its scores, and is known as stored', () => {
  const state = feed([{k: 'trace', run: 'p', m: [...PAIR, SCORES]}]);
  const run = M.runShown(state);
  assert.ok(run.stored && run.exact && run.clashes);
  assert.equal(run.status, 'finished');
});

test('small probabilities keep two digits', () => {
  assert.deepEqual([0.5, 0.0312, 0.00712, 0.00003, 0, 1, NaN].map(M.small),
    ['.50', '.031', '.0071', '<.0001', '.00', '1.00', '–']);
});
